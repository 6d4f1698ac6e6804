import ArgumentParser
import Support
import Training

/// Where a run is kept, and how much of it.
struct RunFolderOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The run folder (default: a new one below runs/).", valueName: "folder"),
        completion: .directory)
    var out: String?

    @Option(
        help: ArgumentHelp(
            "Resume the run in a folder with its own options (default: a new run). --epochs makes it longer; --threads, keep, checkpoints, safety and logging may differ; others may be given as they were. auto: resume the run in --out, or begin it where there is none.",
            valueName: "folder"), completion: .directory)
    var resume: String?

    @Option(
        help: ArgumentHelp(
            "Checkpoints to keep beside the best one (default: \(FaultPolicy().keep)).", valueName: "n"))
    var keep: Int?

    @Option(
        help: ArgumentHelp(
            "Write a checkpoint every N steps too (default: after each epoch only).", valueName: "steps"))
    var checkpointSteps: Int?

    /// The value of `--resume` for a run that may not be there yet.
    private static let auto = "auto"

    var isAuto: Bool { resume == Self.auto }

    /// The run folder, where one is named.
    var folder: String? { isAuto ? out : resume ?? out }

    func validate() throws {
        guard !isAuto || out != nil else { throw ValidationError("--resume auto needs --out, the run folder") }
    }

    /// Sets what is given.
    func apply(to policy: inout FaultPolicy) {
        policy.keep = keep ?? policy.keep
        policy.checkpointSteps = checkpointSteps ?? policy.checkpointSteps
    }

    /// Whether there is a run in the folder.
    static func holdsRun(_ folder: String) throws -> Bool { try FileSystem.exists(folder + "/config.json") }
}
