import CKernels
import Support

/// Two sums per channel over the pixels of a feature map: (Σx, Σx²) in forward, (Σg, Σg·x̂) in backward.
///
/// Each task of a pass has its own sums; they are added in task order, so that results do not depend on the number of
/// threads. All sums of a rank share the tasks' memory, a `ReductionScratch`: only one reduction runs at a time.
package final class ChannelSums {
    package let channels: Int
    private let scratch: ReductionScratch
    private let totals: AlignedBuffer<Double>

    package init(channels: Int, in scratch: ReductionScratch) {
        self.channels = channels
        self.scratch = scratch
        scratch.reserve(channels: channels)
        totals = AlignedBuffer(count: 2 * channels)
    }

    /// The zeroed sums of one task.
    package func begin(task: Int, worker: Int) -> PartialSums {
        PartialSums(channels: channels, in: scratch, task: task, worker: worker)
    }

    /// Adds up the sums of the last pass's tasks, in task order.
    package func finish() {
        totals.elements.update(repeating: 0)
        for task in 0..<scratch.taskCount {
            let sums = scratch.totals(task)
            for i in 0..<2 * channels { totals.pointer[i] += sums[i] }
        }
    }

    /// `sum`, then `productSum`: one buffer to all-reduce.
    package var all: UnsafeMutableBufferPointer<Double> { totals.elements }
    /// Σx or Σg per channel.
    package var sum: UnsafeMutablePointer<Double> { totals.pointer }
    /// Σx² or Σg·x̂ per channel.
    package var productSum: UnsafeMutablePointer<Double> { totals.pointer + channels }
}

/// The tasks' and workers' memory for partial sums.
package final class ReductionScratch {
    private let workers: Int
    private var channels = 0
    private var vectors: [AlignedBuffer<Float>] = []
    private var precise: [AlignedBuffer<Double>] = []
    private var tasks: [AlignedBuffer<Double>] = []
    /// The tasks of the pass that sums now, or has summed last.
    package var taskCount = 0

    package init(workers: Int) { self.workers = workers }

    func reserve(channels: Int) { self.channels = max(self.channels, channels) }

    /// Allocates all that was reserved.
    package func allocate() {
        vectors = (0..<workers).map { _ in AlignedBuffer(count: 2 * 16 * channels) }
        precise = (0..<workers).map { _ in AlignedBuffer(count: 2 * 8 * channels) }
        tasks = (0..<TaskPartition.maximumCount).map { _ in AlignedBuffer(count: 2 * channels) }
    }

    func vectors(_ worker: Int) -> UnsafeMutablePointer<Float> { vectors[worker].pointer }
    func precise(_ worker: Int) -> UnsafeMutablePointer<Double> { precise[worker].pointer }
    func totals(_ task: Int) -> UnsafeMutablePointer<Double> { tasks[task].pointer }
}

/// The sums of one task: a vector of partial sums per channel, flushed to float64 totals once per group to keep float32
/// sums short, and at last.
package struct PartialSums {
    package let channels: Int
    /// Gradients and products, shape [channels][16] each.
    let gradients: UnsafeMutablePointer<Float>
    let products: UnsafeMutablePointer<Float>
    /// Values and squares, shape [channels][8] each.
    let values: UnsafeMutablePointer<Double>
    let squares: UnsafeMutablePointer<Double>
    private let totals: UnsafeMutablePointer<Double>

    fileprivate init(channels: Int, in scratch: ReductionScratch, task: Int, worker: Int) {
        self.channels = channels
        gradients = scratch.vectors(worker)
        products = gradients + 16 * channels
        values = scratch.precise(worker)
        squares = values + 8 * channels
        totals = scratch.totals(task)
        // The vectors are zero between tasks: they were allocated so, and flushing clears them.
        totals.update(repeating: 0, count: 2 * channels)
    }

    /// Adds the vectors of gradients and products to the totals and clears them.
    package func flushGradients() { kernels.pointee.flush_float_sums(gradients, 2 * channels, totals) }

    /// Adds the vectors of values and squares to the totals and clears them.
    package func flushValues() { kernels.pointee.flush_double_sums(values, 2 * channels, totals) }
}

/// Zeroes the padding lanes of a panel, then adds each channel's values and squares to `sums`.
@inline(__always)
package func addSums(
    _ panel: PanelNumbers, lanes: Int, mask: UnsafePointer<Float>?, to sums: PartialSums
) {
    switch panel.precision {
    case .float32:
        kernels.pointee.channel_sums(panel.floats, sums.channels, lanes, mask, sums.values, sums.squares)
    case .bfloat16:
        kernels.pointee.channel_sums_bfloat16(panel.bfloat16, sums.channels, lanes, mask, sums.values, sums.squares)
    }
}
