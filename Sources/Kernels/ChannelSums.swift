import CKernels
import Support

/// Sums over the pixels of a resolution, two of them a channel, because all that need one need two: values and squares,
/// or gradients and their products with the values.
///
/// Each task of a pass adds up its own, and the tasks' sums are added in their order, so that the number of threads
/// does not show. The memory of the tasks is a `SumSpace`, shared by all sums of a rank, which are never gathered two
/// at a time.
package final class ChannelSums {
    package let channels: Int
    private let space: SumSpace
    private let totals: AlignedBuffer<Double>

    package init(channels: Int, in space: SumSpace) {
        self.channels = channels
        self.space = space
        space.reserve(channels: channels)
        totals = AlignedBuffer(count: 2 * channels)
    }

    /// The empty sums of a task.
    package func begin(task: Int, worker: Int) -> PartialSums {
        PartialSums(channels: channels, in: space, task: task, worker: worker)
    }

    /// Adds up the sums of all tasks, in their order.
    package func finish(tasks: Int) {
        totals.elements.update(repeating: 0)
        for task in 0..<tasks {
            let sums = space.totals(task)
            for i in 0..<2 * channels { totals.pointer[i] += sums[i] }
        }
    }

    /// All first sums, then all second ones: what is summed over ranks.
    package var all: UnsafeMutableBufferPointer<Double> { totals.elements }
    package var first: UnsafeMutablePointer<Double> { totals.pointer }
    package var second: UnsafeMutablePointer<Double> { totals.pointer + channels }
}

/// The memory in which tasks add up.
package final class SumSpace {
    private let workers: Int
    private var channels = 0
    private var vectors: [AlignedBuffer<Float>] = []
    private var precise: [AlignedBuffer<Double>] = []
    private var tasks: [AlignedBuffer<Double>] = []

    package init(workers: Int) { self.workers = workers }

    func reserve(channels: Int) { self.channels = max(self.channels, channels) }

    /// Allocates all that was reserved.
    package func allocate() {
        vectors = (0..<workers).map { _ in AlignedBuffer(count: 2 * 16 * channels) }
        precise = (0..<workers).map { _ in AlignedBuffer(count: 2 * 8 * channels) }
        tasks = (0..<TaskPartition.maximumCount).map { _ in AlignedBuffer(count: 2 * channels) }
    }

    /// Bytes of a space for sums of so many channels.
    package static func bytes(channels: Int, workers: Int) -> Int {
        channels * 8 * (workers * 32 + TaskPartition.maximumCount * 2)
    }

    func vectors(_ worker: Int) -> UnsafeMutablePointer<Float> { vectors[worker].pointer }
    func precise(_ worker: Int) -> UnsafeMutablePointer<Double> { precise[worker].pointer }
    func totals(_ task: Int) -> UnsafeMutablePointer<Double> { tasks[task].pointer }
}

/// The sums of one task: a vector of partial sums a channel, and float64 totals to which they go once a group, so that
/// float32 adds up few numbers.
package struct PartialSums {
    package let channels: Int
    /// Gradients and products, shape [channels][16] each.
    let gradients: UnsafeMutablePointer<Float>
    let products: UnsafeMutablePointer<Float>
    /// Values and squares, shape [channels][8] each.
    let values: UnsafeMutablePointer<Double>
    let squares: UnsafeMutablePointer<Double>
    private let totals: UnsafeMutablePointer<Double>

    fileprivate init(channels: Int, in space: SumSpace, task: Int, worker: Int) {
        self.channels = channels
        gradients = space.vectors(worker)
        products = gradients + 16 * channels
        values = space.precise(worker)
        squares = values + 8 * channels
        totals = space.totals(task)
        gradients.update(repeating: 0, count: 2 * 16 * channels)
        values.update(repeating: 0, count: 2 * 8 * channels)
        totals.update(repeating: 0, count: 2 * channels)
    }

    /// Adds the vectors of gradients and products to the totals and clears them.
    package func flushGradients() { kernels.pointee.flush_float_sums(gradients, 2 * channels, totals) }

    /// Adds the vectors of values and squares to the totals and clears them.
    package func flushValues() { kernels.pointee.flush_double_sums(values, 2 * channels, totals) }
}

/// Masks padding lanes of a panel of new values and adds up each channel's values and squares.
@inline(__always)
package func addSums(
    _ panel: UnsafeMutablePointer<Float>, lanes: Int, mask: UnsafePointer<Float>?, to sums: PartialSums
) {
    kernels.pointee.channel_sums(panel, sums.channels, lanes, mask, sums.values, sums.squares)
}
