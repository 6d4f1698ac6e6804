import Kernels

/// Memory that the layers use in turn, sized for the largest need of any and allocated once.
///
/// A layer says at its birth what it needs (`reserve`); what it finds in a buffer when it starts is what another layer left there.
final class Workspace {
    enum Purpose: Int, CaseIterable {
        /// An activated panel: [channels][lanes].
        case activation
        /// A gradient panel of a convolution's output: [channels][lanes].
        case gradient
        /// A gradient panel of a convolution's activated input: [channels][lanes].
        case inputGradient
        /// A 3×3 convolution's padded input, or its activation's gradient.
        case padded
        /// The padded gradient of a 3×3 convolution's output.
        case paddedGradient
        /// A panel or a group, transposed: [lane][channels].
        case transposed
        /// Packed weights of the product at hand.
        case weights
        /// A weight's gradient as the kernel leaves it.
        case weightGradient
        /// A row of lanes.
        case lanes
    }

    private var needs = [Int](repeating: 0, count: Purpose.allCases.count)
    private var buffers: [AlignedBuffer<Float>] = []
    /// Keys of the dropout, one a lane.
    private(set) var dropoutKeys = AlignedBuffer<UInt32>(count: 0)
    /// Offsets of nine taps, and of one.
    let tapOffsets = AlignedBuffer<Int>(count: 21)
    let noOffset = AlignedBuffer<Int>(count: 1)

    func reserve(_ purpose: Purpose, _ count: Int) { needs[purpose.rawValue] = max(needs[purpose.rawValue], count) }

    /// Allocates all that was reserved.
    func allocate() {
        buffers = needs.map { AlignedBuffer(count: $0) }
        dropoutKeys = AlignedBuffer(count: needs[Purpose.lanes.rawValue])
    }

    subscript(purpose: Purpose) -> AlignedBuffer<Float> { buffers[purpose.rawValue] }

    var bytes: Int { needs.reduce(0, +) * MemoryLayout<Float>.stride }
}

extension Int {
    /// The next multiple of a vector's 16 floats.
    var roundedToVector: Int { (self + 15) / 16 * 16 }
}
