import Kernels
import Support

/// The workspace sizes that a network's layers need: for each buffer the maximum over all layers.
struct WorkspaceNeeds {
    /// A buffer that each thread has.
    enum Purpose: Int, CaseIterable {
        /// An activated panel: [channels][lanes].
        case activation
        /// A gradient panel of a convolution's output: [channels][lanes].
        case gradient
        /// The same in bfloat16, as pairs of channels.
        case gradientPairs
        /// A gradient panel of a convolution's activated input: [channels][lanes].
        case inputGradient
        /// A 3×3 convolution's padded input.
        case padded
        /// The padded gradient of a 3×3 convolution's output.
        case paddedGradient
        /// The same in bfloat16, one number per lane.
        case paddedBFloat16
        /// A panel or a group, transposed: [lane][channels].
        case transposed
        /// Scratch of Winograd's transforms.
        case winograd
        /// A row of lanes.
        case lanes
        /// Scratch for the even and odd columns of the stem's rows.
        case columns
    }

    private var counts = [Int](repeating: 0, count: Purpose.allCases.count)
    private(set) var weights = 0
    private(set) var directWeights = 0
    /// Floats for a task's gradient of a weight, and for those of all tasks.
    private(set) var weightGradient = 0
    private(set) var weightGradients = 0

    subscript(purpose: Purpose) -> Int { counts[purpose.rawValue] }

    mutating func reserve(_ purpose: Purpose, _ count: Int) {
        counts[purpose.rawValue] = max(counts[purpose.rawValue], count)
    }

    /// For a 1×1 convolution, or one over patches, whose output has `lanes` lanes.
    mutating func reserve(pointwise weight: Parameter, lanes: Int) {
        let outputs = weight.shape[0]
        reserve(.gradient, outputs * lanes)
        reserve(.transposed, lanes * max(weight.count / outputs, outputs).roundedToVector)
        reserve(.lanes, lanes)
        weights = max(weights, weight.count)
    }

    /// For the tasks' gradients of a weight, of `count` floats each, and for `sum` floats that their sum turns into.
    mutating func reserve(weightGradient count: Int, sum: Int = 0, layout: PanelLayout) {
        let tasks = TaskPartition.bound(
            groups: layout.capacity, height: layout.height, lanes: layout.lanes, most: Workspace.tasks(for: count))
        weightGradient = max(weightGradient, max(count, sum).roundedToVector)
        weightGradients = max(weightGradients, max(tasks * count.roundedToVector, sum))
    }

    /// For a 3×3 convolution.
    mutating func reserve(spatial weight: Parameter, layout: PanelLayout) {
        let growth = weight.shape[0]
        let inputs = weight.shape[1]
        let inputShape = PaddedGroup.Shape(channels: inputs, layout: layout)
        let outputShape = PaddedGroup.Shape(channels: growth, layout: layout)
        reserve(.padded, inputShape.count)
        reserve(.paddedGradient, outputShape.count)
        reserve(.winograd, RowWinograd.scratchCount(inputShape, outputs: growth))
        reserve(.winograd, RowWinograd.scratchCount(outputShape, outputs: inputs))
        reserve(.winograd, RowWinogradGradient(inputs: inputs, output: outputShape).scratchCount)
        reserve(.transposed, (layout.height + 2) * layout.lanes * inputs.roundedToVector)
        reserve(.activation, max(inputs, growth) * layout.lanes)
        reserve(.lanes, layout.lanes)
        // Winograd's six products, and in `directWeights` the nine taps for the remaining rows.
        weights = max(weights, RowWinograd.weightCount(outputs: growth, inputs: inputs))
        directWeights = max(directWeights, weight.count)
    }
}

/// Memory that all layers share, allocated once.
///
/// Layers reserve sizes in `init`. The contents of the buffers are undefined when a layer starts.
final class Workspace {
    var needs = WorkspaceNeeds()
    let reductionScratch: ReductionScratch
    private let threads: Int
    private var pool: WorkerPool?
    private(set) var workers: [WorkerSpace] = []
    /// The packed weights of the current product, read by all workers.
    private(set) var weights = AlignedBuffer<Float>(count: 0)
    /// The packed taps for rows beyond the last multiple of Winograd's four.
    private(set) var directWeights = AlignedBuffer<Float>(count: 0)
    /// The tasks' gradients of the current weight, as the kernel writes them, one after the other.
    private var weightGradients = AlignedBuffer<Float>(count: 0)
    /// The tap offsets of the current product, nine at most.
    let tapOffsets = AlignedBuffer<Int>(count: 9)
    /// The only tap offset of a 1×1 convolution, zero.
    let noOffset = AlignedBuffer<Int>(count: 1)

    init(threads: Int) {
        self.threads = threads
        reductionScratch = ReductionScratch(workers: threads)
    }

    /// Allocates all that was reserved; weight gradients only in training.
    func allocate(training: Bool, clock: PhaseClock) {
        workers = (0..<threads).map { WorkerSpace(index: $0, needs: needs, clock: $0 == 0 ? clock : PhaseClock()) }
        weights = AlignedBuffer(count: needs.weights)
        directWeights = AlignedBuffer(count: needs.directWeights)
        let gradients = threads == 1 ? 2 * needs.weightGradient : needs.weightGradients
        weightGradients = AlignedBuffer(count: training ? gradients : 0)
        reductionScratch.allocate()
    }

    /// Starts the threads.
    ///
    /// - Throws: `Failure(.unavailable)` if the system refuses them.
    func start() throws { pool = try WorkerPool(threads: threads) }

    /// Runs `body` on all threads, once for each task that a pass over a feature map is divided into.
    ///
    /// - Parameters:
    ///   - units: where the pass may cut a group; by default at each row.
    ///   - most: tasks at most.
    @inline(__always)
    func forEachTask(
        of featureMap: FeatureMap, cutAt units: RowUnits? = nil, most: Int = TaskPartition.maximumCount,
        _ body: (_ task: PassTask) -> Void
    ) {
        guard let pool else { preconditionFailure("the workspace has no threads yet") }
        let tasks = featureMap.tasks(units ?? RowUnits(height: featureMap.layout.height), most: most)
        reductionScratch.taskCount = tasks.count
        pool.run(tasks: tasks.count) { task, worker in
            body(
                PassTask(
                    groups: tasks.groups(of: task), rows: tasks.rows(of: task), index: task, worker: workers[worker]))
        }
    }

    /// Tasks at most of a pass that computes the gradient of a weight of `count` floats: 16 MiB of gradients, and eight
    /// tasks where a gradient is larger.
    static func tasks(for count: Int) -> Int { max(8, (4 << 20) / max(count, 1)) }

    /// As `forEachTask`; passes each task where to write its gradient of a weight, which is not zeroed.
    ///
    /// - Parameters:
    ///   - count: floats that are reserved for a task's gradient.
    ///   - used: floats that a task writes, if fewer.
    ///   - sum: the place of the first task's gradient, and of the sum; by default in the workspace.
    /// - Returns: the tasks' gradients, summed in task order.
    @inline(__always)
    func sumOfWeightGradients(
        of featureMap: FeatureMap, cutAt units: RowUnits? = nil, count: Int, used: Int? = nil,
        to sum: UnsafeMutablePointer<Float>? = nil,
        _ body: (_ task: PassTask, _ gradient: UnsafeMutablePointer<Float>) -> Void
    ) -> UnsafeMutablePointer<Float> {
        let (stride, used) = (count.roundedToVector, used ?? count)
        let others = weightGradients.pointer
        let sum = sum ?? others
        // A single thread comes by the tasks in their order: it needs no memory but a task's, which stays in the cache.
        let isAlone = threads == 1
        forEachTask(of: featureMap, cutAt: units, most: Self.tasks(for: count)) { task in
            let gradient = task.index == 0 ? sum : others + (isAlone ? 1 : task.index) * stride
            body(task, gradient)
            if isAlone, task.index > 0 { add(gradient, to: sum, count: used) }
        }
        if reductionScratch.taskCount == 0 { sum.update(repeating: 0, count: used) }
        if !isAlone { addTasks(reductionScratch.taskCount, stride: stride, to: sum, count: used) }
        return sum
    }

    /// Adds the gradients of all tasks but the first to that, on all threads.
    private func addTasks(_ tasks: Int, stride: Int, to sum: UnsafeMutablePointer<Float>, count: Int) {
        let length = 4096
        let others = weightGradients.pointer
        pool?.run(tasks: (count + length - 1) / length) { part, _ in
            let first = part * length
            for task in 1..<max(tasks, 1) {
                add(others + task * stride + first, to: sum + first, count: min(length, count - first))
            }
        }
    }
}

/// A part of a pass: some groups of a feature map, or some rows of a group, on one thread.
struct PassTask {
    let groups: Range<Int>
    /// The rows of each of these groups.
    let rows: Range<Int>
    /// Selects the memory that the task accumulates into.
    let index: Int
    let worker: WorkerSpace
}

/// The part of the workspace that belongs to one thread.
final class WorkerSpace {
    let index: Int
    let activation, gradient, gradientPairs, inputGradient, transposed, winograd, lanes, columns: AlignedBuffer<Float>
    let padded, paddedGradient: BorderedBuffer
    private let bfloat16Buffer: AlignedBuffer<Float>
    private var bfloat16Shape: PaddedGroup.Shape?
    /// Dropout keys, one per lane.
    let dropoutKeys: AlignedBuffer<UInt32>
    let clock: PhaseClock

    init(index: Int, needs: WorkspaceNeeds, clock: PhaseClock) {
        func buffer(_ purpose: WorkspaceNeeds.Purpose) -> AlignedBuffer<Float> { AlignedBuffer(count: needs[purpose]) }
        self.index = index
        self.clock = clock
        activation = buffer(.activation)
        gradient = buffer(.gradient)
        gradientPairs = buffer(.gradientPairs)
        inputGradient = buffer(.inputGradient)
        padded = BorderedBuffer(buffer(.padded))
        paddedGradient = BorderedBuffer(buffer(.paddedGradient))
        bfloat16Buffer = buffer(.paddedBFloat16)
        transposed = buffer(.transposed)
        winograd = buffer(.winograd)
        lanes = buffer(.lanes)
        columns = buffer(.columns)
        dropoutKeys = AlignedBuffer(count: needs[.lanes])
    }

    /// The gradient of a convolution's output in bfloat16, with zero borders as in a `BorderedBuffer`.
    func paddedBFloat16(_ shape: PaddedGroup.Shape) -> PaddedBFloat16Group {
        let group = PaddedBFloat16Group(shape, in: bfloat16Buffer)
        if bfloat16Shape != shape { group.clear() }
        bfloat16Shape = shape
        return group
    }
}

/// The memory of a padded group. The zero borders are never written, so they are cleared only when the shape changes.
final class BorderedBuffer {
    private let buffer: AlignedBuffer<Float>
    private var shape: PaddedGroup.Shape?

    init(_ buffer: AlignedBuffer<Float>) { self.buffer = buffer }

    func group(_ shape: PaddedGroup.Shape) -> PaddedGroup {
        let group = PaddedGroup(shape, in: buffer)
        if self.shape != shape { group.clear() }
        self.shape = shape
        return group
    }
}

extension Int {
    /// Rounded up to a multiple of a vector's 16 floats.
    var roundedToVector: Int { (self + 15) / 16 * 16 }
}
