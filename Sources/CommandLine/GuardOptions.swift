import ArgumentParser
import Kernels
import Training

/// The options of a run that may also be given anew when it is resumed.
struct GuardOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Checkpoints to keep beside the best one (default 3).", valueName: "n"))
    var keep: Int?

    @Option(help: ArgumentHelp("Write a checkpoint every N steps too, beside those after each epoch.", valueName: "n"))
    var checkpointSteps: Int?

    @Option(help: ArgumentHelp("When a checkpoint cannot be written: stop (default), or continue with a warning.", valueName: "word"))
    var onCheckpointError: String?

    /// - Throws: `Failure(.usage)` on an unknown word.
    func resolved() throws -> SafetyOptions {
        SafetyOptions(
            keep: keep, checkpointSteps: checkpointSteps,
            onCheckpointError: try onCheckpointError.map {
                guard let choice = SafetyOptions.CheckpointError(rawValue: $0) else {
                    throw Failure(.usage, "--on-checkpoint-error is \($0), expected stop or continue")
                }
                return choice
            })
    }
}
