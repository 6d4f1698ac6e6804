import Support

/// How a run guards its checkpoints and its numbers. None of it changes what is learnt while all goes well, so a
/// resumed run may be given other values, for that start only. What is nil has its default.
package struct SafetyOptions: Codable, Sendable, Equatable {
    /// What a checkpoint that cannot be written does to the run.
    package enum CheckpointError: String, Codable, Sendable {
        case stop, `continue`
    }

    /// What a step whose numbers are not finite does to the run.
    package enum Nonfinite: String, Codable, Sendable {
        case stop, skip
    }

    static let defaultKeep = 3

    /// Checkpoints to keep, from the newest back; the best is kept beside them.
    package var keep: Int?
    /// Steps between checkpoints, beside those after each epoch.
    package var checkpointSteps: Int?
    package var onCheckpointError: CheckpointError?
    package var onNonfinite: Nonfinite?

    package init(keep: Int?, checkpointSteps: Int?, onCheckpointError: CheckpointError?, onNonfinite: Nonfinite?) {
        self.keep = keep
        self.checkpointSteps = checkpointSteps
        self.onCheckpointError = onCheckpointError
        self.onNonfinite = onNonfinite
    }

    /// These where they are given, else the others.
    func over(_ others: SafetyOptions?) -> SafetyOptions {
        SafetyOptions(
            keep: keep ?? others?.keep, checkpointSteps: checkpointSteps ?? others?.checkpointSteps,
            onCheckpointError: onCheckpointError ?? others?.onCheckpointError,
            onNonfinite: onNonfinite ?? others?.onNonfinite)
    }

    /// - Throws: `Failure(.usage)` naming the option and what it has to be.
    func validate() throws {
        if let keep, keep < 1 { throw Failure(.usage, "--keep is \(keep), expected 1 or more checkpoints") }
        if let checkpointSteps, checkpointSteps < 1 {
            throw Failure(.usage, "--checkpoint-steps is \(checkpointSteps), expected 1 or more")
        }
    }
}
