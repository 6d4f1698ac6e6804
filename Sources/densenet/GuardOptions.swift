import ArgumentParser
import Support
import Training

/// The options of a run that may also be given anew when it is resumed.
struct GuardOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Checkpoints to keep beside the best one (default 3).", valueName: "n"))
    var keep: Int?

    @Option(help: ArgumentHelp("Write a checkpoint every N steps too, beside those after each epoch.", valueName: "n"))
    var checkpointSteps: Int?

    @Option(
        help: ArgumentHelp(
            "When a checkpoint cannot be written: stop (default), or continue with a warning.", valueName: "word"))
    var onCheckpointError: String?

    @Option(
        help: ArgumentHelp(
            "When a step's numbers are not finite: stop (default), or skip the step with a warning.", valueName: "word")
    )
    var onNonfinite: String?

    /// - Throws: `Failure(.usage)` on an unknown word.
    func resolved() throws -> SafetyOptions {
        SafetyOptions(
            keep: keep, checkpointSteps: checkpointSteps,
            onCheckpointError: try choice(onCheckpointError, "--on-checkpoint-error", "stop or continue"),
            onNonfinite: try choice(onNonfinite, "--on-nonfinite", "stop or skip"))
    }

    private func choice<Choice: RawRepresentable<String>>(_ word: String?, _ option: String, _ words: String) throws
        -> Choice?
    {
        try word.map {
            guard let choice = Choice(rawValue: $0) else {
                throw Failure(.usage, "\(option) is \($0), expected \(words)")
            }
            return choice
        }
    }
}
