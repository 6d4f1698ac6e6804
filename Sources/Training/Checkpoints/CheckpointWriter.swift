import DenseNetModel
import Dispatch
import Glibc
import Safetensors
import Support
import Synchronization

/// Writes a run's checkpoints, and the results of its epochs, on a thread of its own while training goes on. Rank zero
/// alone has one.
///
/// `begin` copies weights, running statistics and momenta into memory that is allocated once, so the next steps may
/// move them. One piece of work is under way at a time; `finish` waits for it and throws what it met.
final class CheckpointWriter {
    /// Seconds that training has waited: for the copies, and for checkpoints that were not finished when they had to
    /// be.
    private(set) var waitSeconds = 0.0
    /// Checkpoints that are on the disk.
    private(set) var written = 0
    /// The last checkpoint that is on the disk.
    private(set) var newest: CheckpointPosition?
    /// The best epoch whose weights and checkpoint are on the disk.
    private(set) var best: BestEpoch?
    private let work: CheckpointWork
    private let step: TrainingStep
    private let thread: pthread_t
    private var isUnderWay = false

    /// - Parameters:
    ///   - newest: the checkpoint that the run goes on from, if any.
    ///   - metrics: where the results of epochs go.
    ///   - bestWeights: the file of the best epoch's weights; with `metadata`, and `best` where it is there already.
    /// - Throws: `Failure(.unavailable)` when the system refuses the thread.
    init(
        of step: TrainingStep, folder: CheckpointFolder, newest: CheckpointPosition?, metrics: MetricsLog,
        bestWeights: String, best: BestEpoch?, metadata: [String: String]
    ) throws {
        self.step = step
        self.newest = newest
        self.best = best
        work = try CheckpointWork(step, folder: folder, metrics: metrics, bestWeights: bestWeights, metadata: metadata)
        // The thread holds the work, never the writer: that can go, and ends it.
        thread = try startThread(refusal: "the thread that writes checkpoints cannot start") { [work] in work.run() }
    }

    /// Ends the thread, which finishes what is under way.
    deinit {
        work.isEnding.store(true, ordering: .releasing)
        work.beginSignal.signal()
        pthread_join(thread, nil)
    }

    /// Whether what is under way cannot be written; `finish` says why.
    var hasFailed: Bool { work.hasFailed.load(ordering: .acquiring) }

    /// Begins to write where the run stands.
    ///
    /// - Precondition: nothing is under way.
    func begin(_ state: RunState, at position: CheckpointPosition) {
        let began = monotonicSeconds()
        work.copy(from: step)
        waitSeconds += monotonicSeconds() - began
        begin(.checkpoint(state, position, sparing: best?.position))
    }

    /// Begins to write an epoch's line of metrics, behind the weights where they are the best so far.
    ///
    /// - Precondition: nothing is under way, and the last checkpoint is of this epoch's weights.
    func begin(result: EpochMetrics, at position: CheckpointPosition) {
        let isBest = result.testAccuracy > best?.accuracy ?? -1
        begin(.result(result, isBest ? BestEpoch(accuracy: result.testAccuracy, position: position) : nil))
    }

    private func begin(_ job: CheckpointWork.Job) {
        precondition(!isUnderWay, "two checkpoints at a time")
        work.job = job
        isUnderWay = true
        work.beginSignal.signal()
    }

    /// Waits for what is under way, if anything.
    ///
    /// - Throws: what kept it from being written; older checkpoints stand then.
    func finish() throws {
        guard isUnderWay else { return }
        let began = monotonicSeconds()
        work.doneSignal.wait()
        waitSeconds += monotonicSeconds() - began
        isUnderWay = false
        if let failure = work.failure {
            work.failure = nil
            work.hasFailed.store(false, ordering: .releasing)
            throw failure
        }
        switch work.job {
        case .checkpoint(_, let position, _): (written, newest) = (written + 1, position)
        case .result(_, let best?): self.best = best
        default: break
        }
    }
}

/// The epoch of a run whose weights recognise most test images.
struct BestEpoch {
    let accuracy: Double
    let position: CheckpointPosition

    init(accuracy: Double, position: CheckpointPosition) {
        self.accuracy = accuracy
        self.position = position
    }

    private static let keys = (epoch: "epoch", step: "step", accuracy: "test_accuracy")

    /// What a run's file of best weights says; nil where there is none that can be read, or it is of an epoch that a
    /// resumed run, whose last whole epoch is `last`, will go through again.
    init?(path: String, last: Int) {
        guard let metadata = try? SafetensorsFile(path: path).metadata,
            let epoch = metadata[Self.keys.epoch].flatMap({ Int($0) }),
            let step = metadata[Self.keys.step].flatMap({ Int($0) }), epoch >= 0, step >= 0, epoch <= last,
            let accuracy = metadata[Self.keys.accuracy].flatMap({ Double($0) })
        else { return nil }
        self.init(accuracy: accuracy, position: CheckpointPosition(epoch: epoch, step: step))
    }

    var metadata: [String: String] {
        [Self.keys.epoch: "\(position.epoch)", Self.keys.step: "\(position.step)", Self.keys.accuracy: "\(accuracy)"]
    }
}

/// What the writer and its thread share. The semaphores order all accesses, hence `@unchecked Sendable`.
private final class CheckpointWork: @unchecked Sendable {
    enum Job {
        case checkpoint(RunState, CheckpointPosition, sparing: CheckpointPosition?)
        /// The best epoch where it is this one.
        case result(EpochMetrics, BestEpoch?)
    }

    let beginSignal = DispatchSemaphore(value: 0)
    let doneSignal = DispatchSemaphore(value: 0)
    let isEnding = Atomic(false)
    let hasFailed = Atomic(false)
    var job: Job?
    var failure: (any Error)?
    private let folder: CheckpointFolder
    private let metrics: MetricsLog
    private let bestWeights: String
    private let parameters: AlignedBuffer<Float>
    private let statistics: AlignedBuffer<Float>
    private let momenta: AlignedBuffer<Float>
    private let weights: [NamedTensor]
    private let momentumTensors: [NamedTensor]
    private let configuration: String
    private let weightsMetadata: [String: String]

    init(
        _ step: TrainingStep, folder: CheckpointFolder, metrics: MetricsLog, bestWeights: String,
        metadata: [String: String]
    ) throws {
        self.folder = folder
        self.metrics = metrics
        self.bestWeights = bestWeights
        let table = step.network.table
        parameters = AlignedBuffer(count: table.parameterCount)
        statistics = AlignedBuffer(count: table.statisticsCount)
        momenta = AlignedBuffer(count: table.parameterCount)
        weights = WeightsFile.tensors(table, parameters: parameters.elements, statistics: statistics.elements)
        momentumTensors = TrainingStep.momentumTensors(table, momenta)
        configuration = try WeightsFile.configurationText(step.network.configuration)
        weightsMetadata = metadata
    }

    func copy(from step: TrainingStep) {
        _ = parameters.elements.update(fromContentsOf: step.network.parameters)
        _ = statistics.elements.update(fromContentsOf: step.network.statistics)
        _ = momenta.elements.update(fromContentsOf: step.optimizer.momenta.elements)
    }

    func run() {
        while true {
            beginSignal.wait()
            if isEnding.load(ordering: .acquiring) { return }
            do { if let job { try write(job) } } catch {
                failure = error
                hasFailed.store(true, ordering: .releasing)
            }
            doneSignal.signal()
        }
    }

    private func write(_ job: Job) throws {
        switch job {
        case .checkpoint(let state, let position, let best):
            try folder.write(
                Checkpoint(
                    position: position, tensors: weights + momentumTensors,
                    metadata: state.metadata.merging(weightsMetadata) { $1 }.merging(["config": configuration]) { $1 }),
                sparing: best)
        case .result(let result, let best):
            // The line comes last: with it the epoch is evaluated, without it a resumed run does that again.
            if let best { try writeBestWeights(best) }
            try metrics.append(result)
        }
    }

    private func writeBestWeights(_ best: BestEpoch) throws {
        let metadata = weightsMetadata.merging(best.metadata) { $1 }
        try SafetensorsWriter.write(
            to: bestWeights, tensors: weights,
            metadata: metadata.merging(["config": configuration, "format": "pt"]) { $1 })
    }
}
