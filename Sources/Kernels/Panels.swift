import CKernels
import Support

/// The panels of a batch of images: `channels` × `lanes` numbers per group and row.
package final class Panels: Sendable {
    package let layout: PanelLayout
    package let channels: Int
    /// The type of the numbers in memory.
    package let precision: Precision
    private let buffer: AlignedBuffer<Float>

    /// - Parameter images: of the largest batch.
    package init(layout: PanelLayout, channels: Int, images: Int, precision: Precision = .float32) {
        self.layout = layout
        self.channels = channels
        self.precision = precision
        let count = layout.groups(images) * layout.height * channels * layout.lanes
        buffer = AlignedBuffer(count: precision.elements(count))
    }

    /// The panel of row `y` of a group: shape [channels][lanes].
    package func numbers(_ group: Int, _ y: Int) -> PanelNumbers {
        let offset = precision.elements((group * layout.height + y) * rowCount)
        precondition(y < layout.height && offset < buffer.count, "there is no panel \(group), \(y)")
        return PanelNumbers(start: buffer.pointer + offset, precision: precision)
    }

    /// The panel of row `y` of a group in float32: shape [channels][lanes].
    ///
    /// - Precondition: the numbers are float32.
    package func panel(_ group: Int, _ y: Int) -> UnsafeMutablePointer<Float> { numbers(group, y).floats }

    /// Numbers from one row to the next.
    private var rowCount: Int { channels * layout.lanes }

    /// The 32-bit elements from one row to the next.
    package var rowElements: Int { precision.elements(rowCount) }

    package var byteCount: Int { buffer.byteCount }

    package func clear() { buffer.elements.update(repeating: 0) }

    /// Zeroes all panels of one group.
    package func clear(group: Int) {
        let start = numbers(group, 0).memory
        UnsafeMutablePointer(mutating: start).update(repeating: 0, count: layout.height * rowElements)
    }
}

/// Numbers of a panel where they are stored, in float32 or rounded to bfloat16.
package struct PanelNumbers {
    private let start: UnsafeMutableRawPointer
    package let precision: Precision

    fileprivate init(start: UnsafeMutablePointer<Float>, precision: Precision) {
        self.start = UnsafeMutableRawPointer(start)
        self.precision = precision
    }

    package init(_ floats: UnsafeMutablePointer<Float>) {
        start = UnsafeMutableRawPointer(floats)
        precision = .float32
    }

    package init(_ numbers: UnsafeMutablePointer<UInt16>) {
        start = UnsafeMutableRawPointer(numbers)
        precision = .bfloat16
    }

    /// The memory of a buffer, which the caller keeps alive.
    package init(in buffer: AlignedBuffer<Float>, _ precision: Precision) {
        self.init(start: buffer.pointer, precision: precision)
    }

    /// The numbers from `count` numbers further on.
    package static func + (numbers: PanelNumbers, count: Int) -> PanelNumbers {
        switch numbers.precision {
        case .float32: PanelNumbers(numbers.floats + count)
        case .bfloat16: PanelNumbers(numbers.bfloat16 + count)
        }
    }

    /// - Precondition: the numbers are float32.
    package var floats: UnsafeMutablePointer<Float> {
        precondition(precision == .float32, "the numbers are stored in bfloat16")
        return start.assumingMemoryBound(to: Float.self)
    }

    /// - Precondition: the numbers are bfloat16.
    package var bfloat16: UnsafeMutablePointer<UInt16> {
        precondition(precision == .bfloat16, "the numbers are stored in float32")
        return start.assumingMemoryBound(to: UInt16.self)
    }

    /// The memory as 32-bit elements, for prefetching.
    package var memory: UnsafePointer<Float> { UnsafePointer(start.assumingMemoryBound(to: Float.self)) }

    /// Where to compute, in float32, what `store` then rounds: here, or in `scratch` if the numbers are bfloat16.
    @inline(__always)
    package func place(orIn scratch: AlignedBuffer<Float>) -> UnsafeMutablePointer<Float> {
        precision == .float32 ? floats : scratch.pointer
    }

    /// Stores a panel of shape [channels][lanes] that was computed in `place`, rounded if the numbers are bfloat16;
    /// rows `stride` apart.
    @inline(__always)
    package func store(_ panel: UnsafePointer<Float>, channels: Int, lanes: Int, stride: Int) {
        guard precision == .bfloat16 else { return }
        kernels.pointee.to_bfloat16(panel, lanes, channels, lanes, bfloat16, stride)
    }

    var kernelArgument: ck_numbers { ck_numbers(start: start, is_bfloat16: precision == .bfloat16 ? 1 : 0) }
}
