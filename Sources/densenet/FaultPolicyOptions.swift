import ArgumentParser
import Training

/// The options of a `FaultPolicy`.
struct FaultPolicyOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Checkpoints to keep beside the best one (default \(FaultPolicy().keep)).", valueName: "n"))
    var keep: Int?

    @Option(help: ArgumentHelp("Write a checkpoint every N steps too, beside those after each epoch.", valueName: "n"))
    var checkpointSteps: Int?

    @Option(help: "When a checkpoint cannot be written: stop (default), or continue with a warning.")
    var onCheckpointError: FaultPolicy.CheckpointError?

    @Option(help: "When a step's numbers are not finite: stop (default), or skip the step with a warning.")
    var onNonfinite: FaultPolicy.Nonfinite?

    /// Sets what is given.
    func apply(to policy: inout FaultPolicy) {
        policy.keep = keep ?? policy.keep
        policy.checkpointSteps = checkpointSteps ?? policy.checkpointSteps
        policy.onCheckpointError = onCheckpointError ?? policy.onCheckpointError
        policy.onNonfinite = onNonfinite ?? policy.onNonfinite
    }
}

extension FaultPolicy.CheckpointError: ExpressibleByArgument {}
extension FaultPolicy.Nonfinite: ExpressibleByArgument {}
