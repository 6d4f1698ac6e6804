import Support

/// Writes a run's checkpoints, and the results of its epochs, on a thread of its own while training goes on. Rank zero
/// alone has one.
///
/// `begin` copies weights, running statistics, momenta and averages into memory that is allocated once, so the next
/// steps may move them. One piece of work is under way at a time; `finish` waits for it and throws what it met.
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
    private let contents: CheckpointContents
    private let bestBy: BestMeasure
    private let step: TrainingStep
    private let job: BackgroundJob<Job>
    /// Where lines of steps are wanted.
    private var thinner: StepThinner?
    /// Lines that go into the log with the next checkpoint.
    private var records: [StepRecord] = []
    /// What is under way, or was last.
    private var current: Job?

    private enum Job {
        case checkpoint(
            RunState, CheckpointPosition, averageUpdates: Int?, [StepRecord], sparing: CheckpointPosition?)
        /// The best epoch where it is this one.
        case result(EpochMetrics, BestEpoch?)
    }

    /// - Parameters:
    ///   - newest: the checkpoint that the run goes on from, if any.
    ///   - metrics: where the results of epochs go and, of each `stepMetrics` steps where these are given, a line.
    ///   - bestWeights: the file of the best epoch's weights, the best by `bestBy`; with `metadata` and `summary`, and
    ///     `best` where it is there already.
    ///   - version: of checkpoints; see `FormatVersion`.
    /// - Throws: `Failure(.unavailable)` when the system refuses the thread.
    init(
        of step: TrainingStep, folder: CheckpointFolder, newest: CheckpointPosition?, metrics: MetricsLog,
        stepMetrics: Int?, bestWeights: String, bestBy: BestMeasure, best: BestEpoch?, metadata: [String: String],
        version: Int,
        summary: @escaping @Sendable (EpochMetrics) throws -> [String: String]
    ) throws {
        self.step = step
        self.newest = newest
        self.bestBy = bestBy
        self.best = best
        thinner = stepMetrics.map(StepThinner.init)
        let contents = try CheckpointContents(step, metadata: metadata, version: version)
        self.contents = contents
        job = try BackgroundJob(refusal: "the thread that writes checkpoints cannot start") { job in
            switch job {
            case .checkpoint(let state, let position, let averageUpdates, let records, let best):
                // The lines of steps first: a resumed run drops those past its checkpoint, and could not make up for
                // missing ones. A log that cannot be written must not keep the checkpoint from being.
                let lines = Result { try metrics.append(records) }
                let checkpoint = contents.checkpoint(state, at: position, averageUpdates: averageUpdates)
                try folder.write(checkpoint, sparing: best)
                try lines.get()
            case .result(let result, let best):
                // The line comes last: with it the epoch is evaluated, without it a resumed run does that again.
                if let best { try contents.writeWeights(of: best, to: bestWeights, summary: summary(result)) }
                try metrics.append(result)
            }
        }
    }

    /// Whether what is under way cannot be written; `finish` says why.
    var hasFailed: Bool { job.hasFailed }

    /// Takes note of a step for the log's lines of steps, which are written with the next checkpoint.
    func add(_ step: StepMetrics) {
        if let record = thinner?.add(step) { records.append(record) }
    }

    /// Begins to write where the run stands.
    ///
    /// - Precondition: nothing is under way.
    func begin(_ state: RunState, at position: CheckpointPosition) {
        let began = monotonicSeconds()
        contents.copy(from: step)
        waitSeconds += monotonicSeconds() - began
        begin(
            .checkpoint(
                state, position, averageUpdates: step.average?.updates, records, sparing: best?.position))
        records = []
    }

    /// Begins to write an epoch's line of metrics, behind the weights where they are the best so far.
    ///
    /// - Precondition: nothing is under way, and the last checkpoint is of this epoch's weights.
    func begin(result: EpochMetrics, at position: CheckpointPosition) {
        let value = bestBy.value(of: result.deciding)
        let isBest = bestBy.isBetter(value, than: best?.value)
        begin(.result(result, isBest ? value.map { BestEpoch(bestBy, value: $0, position: position) } : nil))
    }

    private func begin(_ job: Job) {
        current = job
        self.job.start(job)
    }

    /// Waits for what is under way, if anything.
    ///
    /// - Throws: what kept it from being written; older checkpoints stand then.
    func finish() throws {
        guard job.isPending else { return }
        let began = monotonicSeconds()
        defer { waitSeconds += monotonicSeconds() - began }
        try job.wait()
        switch current {
        case .checkpoint(_, let position, _, _, _): (written, newest) = (written + 1, position)
        case .result(_, let best?): self.best = best
        default: break
        }
    }
}
