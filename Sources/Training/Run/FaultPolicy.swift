import Support

/// How a run guards its checkpoints and its numbers. Nothing of it changes what is learnt while all goes well, so a
/// run may be resumed with another policy, which then holds for that start only.
public struct FaultPolicy: Codable, Sendable, Equatable {
    /// What a checkpoint that cannot be written does to the run.
    public enum CheckpointError: String, Codable, Sendable, CaseIterable {
        case stop, `continue`
    }

    /// What a step whose numbers are not finite does to the run.
    public enum Nonfinite: String, Codable, Sendable, CaseIterable {
        case stop, skip
    }

    /// Checkpoints to keep, from the newest back; the best is kept beside them.
    public var keep: Int
    /// Steps between checkpoints, beside those after each epoch.
    public var checkpointSteps: Int?
    /// What a checkpoint that cannot be written does to the run.
    public var onCheckpointError: CheckpointError
    /// What a step whose numbers are not finite does to the run.
    public var onNonfinite: Nonfinite

    /// A policy of the values given; where none is, the run stops at any fault and keeps three checkpoints.
    public init(
        keep: Int = 3, checkpointSteps: Int? = nil, onCheckpointError: CheckpointError = .stop,
        onNonfinite: Nonfinite = .stop
    ) {
        self.keep = keep
        self.checkpointSteps = checkpointSteps
        self.onCheckpointError = onCheckpointError
        self.onNonfinite = onNonfinite
    }

    /// What is missing has its default, as in the run folders of older programs.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init()
        keep = try values.decodeIfPresent(Int.self, forKey: .keep) ?? keep
        checkpointSteps = try values.decodeIfPresent(Int.self, forKey: .checkpointSteps)
        onCheckpointError =
            try values.decodeIfPresent(CheckpointError.self, forKey: .onCheckpointError) ?? onCheckpointError
        onNonfinite = try values.decodeIfPresent(Nonfinite.self, forKey: .onNonfinite) ?? onNonfinite
    }

    /// - Throws: `Failure(.usage)` naming the parameter and what it has to be.
    func validate() throws {
        guard keep >= 1 else { throw Failure(.usage, "`keep` is \(keep), expected 1 or more checkpoints") }
        if let checkpointSteps, checkpointSteps < 1 {
            throw Failure(.usage, "`checkpointSteps` is \(checkpointSteps), expected 1 or more")
        }
    }
}
