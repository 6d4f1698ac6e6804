import CKernels

/// Sums over the pixels of a resolution, two of them a channel, because all that need one need two: values and squares,
/// or gradients and their products with the values.
///
/// Each task of a pass adds up its own, and the tasks' sums are added in their order, so that the number of threads
/// does not show. The memory of the tasks is a `SumSpace`, shared by all sums of a rank, which are never gathered two
/// at a time.
public final class ChannelSums {
    public let channels: Int
    private let space: SumSpace
    private let totals: AlignedBuffer<Double>

    public init(channels: Int, in space: SumSpace) {
        self.channels = channels
        self.space = space
        space.reserve(channels: channels)
        totals = AlignedBuffer(count: 2 * channels)
    }

    /// The empty sums of a task.
    public func begin(chunk: Int, worker: Int) -> PartialSums {
        PartialSums(channels: channels, in: space, chunk: chunk, worker: worker)
    }

    /// Adds up the sums of all tasks, in their order.
    public func finish(chunks: Int) {
        totals.elements.update(repeating: 0)
        for chunk in 0..<chunks {
            let sums = space.totals(chunk)
            for i in 0..<2 * channels { totals.pointer[i] += sums[i] }
        }
    }

    /// All first sums, then all second ones: what is summed over ranks.
    public var all: UnsafeMutableBufferPointer<Double> { totals.elements }
    public var first: UnsafeMutablePointer<Double> { totals.pointer }
    public var second: UnsafeMutablePointer<Double> { totals.pointer + channels }
}

/// The memory in which tasks add up.
public final class SumSpace {
    private let workers: Int
    private var channels = 0
    private var vectors: [AlignedBuffer<Float>] = []
    private var precise: [AlignedBuffer<Double>] = []
    private var chunks: [AlignedBuffer<Double>] = []

    public init(workers: Int) { self.workers = workers }

    func reserve(channels: Int) { self.channels = max(self.channels, channels) }

    /// Allocates all that was reserved.
    public func allocate() {
        vectors = (0..<workers).map { _ in AlignedBuffer(count: 2 * 16 * channels) }
        precise = (0..<workers).map { _ in AlignedBuffer(count: 2 * 8 * channels) }
        chunks = (0..<Chunks.most).map { _ in AlignedBuffer(count: 2 * channels) }
    }

    /// Bytes of a space for sums of so many channels.
    public static func bytes(channels: Int, workers: Int) -> Int { channels * 8 * (workers * 32 + Chunks.most * 2) }

    func vectors(_ worker: Int) -> UnsafeMutablePointer<Float> { vectors[worker].pointer }
    func precise(_ worker: Int) -> UnsafeMutablePointer<Double> { precise[worker].pointer }
    func totals(_ chunk: Int) -> UnsafeMutablePointer<Double> { chunks[chunk].pointer }
}

/// The sums of one task: a vector of partial sums a channel, and float64 totals to which they go once a group, so that
/// float32 adds up few numbers.
public struct PartialSums {
    public let channels: Int
    /// Gradients and products, shape [channels][16] each.
    let gradients: UnsafeMutablePointer<Float>
    let products: UnsafeMutablePointer<Float>
    /// Values and squares, shape [channels][8] each.
    let values: UnsafeMutablePointer<Double>
    let squares: UnsafeMutablePointer<Double>
    private let totals: UnsafeMutablePointer<Double>

    fileprivate init(channels: Int, in space: SumSpace, chunk: Int, worker: Int) {
        self.channels = channels
        gradients = space.vectors(worker)
        products = gradients + 16 * channels
        values = space.precise(worker)
        squares = values + 8 * channels
        totals = space.totals(chunk)
        gradients.update(repeating: 0, count: 2 * 16 * channels)
        values.update(repeating: 0, count: 2 * 8 * channels)
        totals.update(repeating: 0, count: 2 * channels)
    }

    /// Adds the vectors of gradients and products to the totals and clears them.
    public func flushGradients() { kernels.pointee.flush_float_sums(gradients, 2 * channels, totals) }

    /// Adds the vectors of values and squares to the totals and clears them.
    public func flushValues() { kernels.pointee.flush_double_sums(values, 2 * channels, totals) }
}

/// An affine function a channel, `scale·x + shift`: what a batch norm does once its statistics are known.
public final class ChannelAffine {
    public let channels: Int
    public let scale: AlignedBuffer<Float>
    public let shift: AlignedBuffer<Float>

    public init(channels: Int) {
        self.channels = channels
        scale = AlignedBuffer(count: channels)
        shift = AlignedBuffer(count: channels)
    }

    /// output[c][lane] = max(0, scale[c]·input[c][lane] + shift[c]) for a panel of shape [channels][lanes]; dead lanes
    /// beyond `live` become zero. Rows of the output are `outputStride` apart. In bfloat16 a row is of pairs of
    /// channels.
    @inline(__always)
    public func reluPanel(
        _ input: UnsafePointer<Float>, lanes: Int, live: Int, into output: UnsafeMutablePointer<Float>,
        outputStride: Int, precision: Precision = .float32
    ) {
        switch precision {
        case .float32:
            kernels.pointee.affine_relu(
                input, channels, lanes, live, scale.pointer, shift.pointer, output, outputStride)
        case .bfloat16:
            kernels.pointee.affine_relu_pairs(
                input, channels, lanes, live, scale.pointer, shift.pointer, output, outputStride)
        }
    }
}

/// How batch norm's backward makes a value's gradient: `gradientFactor·g + valueFactor·x + constant`, a channel each.
///
/// With x̂ = x·inverse + offset, of mean zero and variance one over N values: dx = weight·inverse·(g − Σg/N −
/// x̂·Σ(g·x̂)/N). Ioffe and Szegedy, arXiv 1502.03167, section 3.
public final class NormBackward {
    public let channels: Int
    private let gradientFactor: AlignedBuffer<Float>
    private let valueFactor: AlignedBuffer<Float>
    private let constant: AlignedBuffer<Float>

    public init(channels: Int) {
        self.channels = channels
        gradientFactor = AlignedBuffer(count: channels)
        valueFactor = AlignedBuffer(count: channels)
        constant = AlignedBuffer(count: channels)
    }

    /// Sets a channel from means over all ranks; `weight` is 1 where the gradient is already that of x̂.
    ///
    /// The constant goes with the factor as float32 has it: rounding then scales deviations from the mean, never the
    /// mean itself.
    public func set(
        _ channel: Int, weight: Double, mean: Double, inverse: Double, meanGradient: Double, meanProduct: Double
    ) {
        let factor = weight * inverse
        gradientFactor.pointer[channel] = Float(factor)
        valueFactor.pointer[channel] = Float(-factor * inverse * meanProduct)
        constant.pointer[channel] = Float(-factor * meanGradient - Double(valueFactor.pointer[channel]) * mean)
    }

    /// Writes the gradient of a panel of values, shape [channels][lanes], with rows `outputStride` apart; masked lanes
    /// become zero.
    @inline(__always)
    public func apply(
        gradient: UnsafePointer<Float>, values: UnsafePointer<Float>, lanes: Int, mask: UnsafePointer<Float>?,
        into output: UnsafeMutablePointer<Float>, outputStride: Int
    ) {
        kernels.pointee.batch_norm_backward(
            gradient, values, channels, lanes, mask, gradientFactor.pointer, valueFactor.pointer, constant.pointer,
            output, outputStride)
    }
}

/// Backward of a norm's ReLU, a panel of shape [channels][lanes] at a time: masks the gradient in place where the ReLU
/// was shut (and in dead lanes) and adds to `sums` the masked gradient and its products with x̂ = x·inverse + offset:
/// dβ and dγ.
@inline(__always)
public func reluBackward(
    _ gradient: UnsafeMutablePointer<Float>, values: UnsafePointer<Float>, affine: ChannelAffine, lanes: Int,
    mask: UnsafePointer<Float>?, inverse: UnsafePointer<Float>, offset: UnsafePointer<Float>, sums: PartialSums
) {
    kernels.pointee.relu_backward(
        gradient, values, affine.channels, lanes, mask, affine.scale.pointer, affine.shift.pointer, inverse, offset,
        sums.gradients, sums.products)
}

/// The same with the gradient left as it is: weight[c] times the masked gradient is added to `into` (`accumulate`) or
/// put there.
@inline(__always)
public func reluBackward(
    _ gradient: UnsafePointer<Float>, values: UnsafePointer<Float>, affine: ChannelAffine, lanes: Int,
    mask: UnsafePointer<Float>?, inverse: UnsafePointer<Float>, offset: UnsafePointer<Float>,
    weight: UnsafePointer<Float>, accumulate: Bool, into: UnsafeMutablePointer<Float>, sums: PartialSums
) {
    kernels.pointee.relu_backward_scaled(
        gradient, values, affine.channels, lanes, mask, affine.scale.pointer, affine.shift.pointer, inverse, offset,
        weight, accumulate ? 1 : 0, into, sums.gradients, sums.products)
}

/// Masks dead lanes of a panel of new values and adds up each channel's values and squares.
@inline(__always)
public func addSums(_ panel: UnsafeMutablePointer<Float>, lanes: Int, mask: UnsafePointer<Float>?, to sums: PartialSums)
{
    kernels.pointee.channel_sums(panel, sums.channels, lanes, mask, sums.values, sums.squares)
}
