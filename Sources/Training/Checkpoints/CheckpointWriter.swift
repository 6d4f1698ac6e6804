import Support

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
    private let contents: CheckpointContents
    private let step: TrainingStep
    private let job: BackgroundJob<Job>
    /// What is under way, or was last.
    private var current: Job?

    private enum Job {
        case checkpoint(RunState, CheckpointPosition, sparing: CheckpointPosition?)
        /// The best epoch where it is this one.
        case result(EpochMetrics, BestEpoch?)
    }

    /// - Parameters:
    ///   - newest: the checkpoint that the run goes on from, if any.
    ///   - metrics: where the results of epochs go.
    ///   - bestWeights: the file of the best epoch's weights; with `metadata` and `summary`, and `best` where it is
    ///     there already.
    /// - Throws: `Failure(.unavailable)` when the system refuses the thread.
    init(
        of step: TrainingStep, folder: CheckpointFolder, newest: CheckpointPosition?, metrics: MetricsLog,
        bestWeights: String, best: BestEpoch?, metadata: [String: String],
        summary: @escaping @Sendable (EpochMetrics) throws -> [String: String]
    ) throws {
        self.step = step
        self.newest = newest
        self.best = best
        let contents = try CheckpointContents(step, metadata: metadata)
        self.contents = contents
        job = try BackgroundJob(refusal: "the thread that writes checkpoints cannot start") { job in
            switch job {
            case .checkpoint(let state, let position, let best):
                try folder.write(contents.checkpoint(state, at: position), sparing: best)
            case .result(let result, let best):
                // The line comes last: with it the epoch is evaluated, without it a resumed run does that again.
                if let best { try contents.writeWeights(of: best, to: bestWeights, summary: summary(result)) }
                try metrics.append(result)
            }
        }
    }

    /// Whether what is under way cannot be written; `finish` says why.
    var hasFailed: Bool { job.hasFailed }

    /// Begins to write where the run stands.
    ///
    /// - Precondition: nothing is under way.
    func begin(_ state: RunState, at position: CheckpointPosition) {
        let began = monotonicSeconds()
        contents.copy(from: step)
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
        case .checkpoint(_, let position, _): (written, newest) = (written + 1, position)
        case .result(_, let best?): self.best = best
        default: break
        }
    }
}
