import ArgumentParser
import Training

/// What a run does when something goes wrong.
struct SafetyOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "When a checkpoint cannot be written: stop (default), or continue with a warning.", valueName: "what"))
    var onCheckpointError: FaultPolicy.CheckpointError?

    @Option(
        help: ArgumentHelp(
            "When a step's numbers are not finite: stop (default), or skip the step with a warning.", valueName: "what")
    )
    var onNonfinite: FaultPolicy.Nonfinite?

    @OptionGroup var watchdog: WatchdogOptions

    /// Sets what is given.
    func apply(to policy: inout FaultPolicy) {
        policy.onCheckpointError = onCheckpointError ?? policy.onCheckpointError
        policy.onNonfinite = onNonfinite ?? policy.onNonfinite
    }
}

extension FaultPolicy.CheckpointError: ExpressibleByArgument {}
extension FaultPolicy.Nonfinite: ExpressibleByArgument {}
