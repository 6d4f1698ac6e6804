import FoundationEssentials
import TestSupport
import Testing
import Training

/// Expects event files that have each step and each epoch of a finished run exactly once, in order, with the numbers of
/// metrics.jsonl.
///
/// - Parameter stepsPerEpoch: so few that no step is thinned out.
func expectWholeEvents(
    of run: FinishedRun, stepsPerEpoch: Int, _ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let all = try eventValues(inFolder: run.path + "/events")
    func values(_ tag: String) -> [EventValue] { all.filter { $0.tag == tag } }
    func expectSteps(_ tag: String, _ expected: [Int]) {
        #expect(values(tag).map(\.step) == expected, "\(tag) \(comment)", sourceLocation: sourceLocation)
    }
    for name in ["loss", "accuracy", "learning_rate", "images_per_second", "data_wait_seconds"] {
        expectSteps("step/\(name)", Array(1...run.epochs.count * stepsPerEpoch))
    }
    let epochs = run.epochs.map(\.epoch)
    for (name, _) in run.epochs[0].namedNumbers { expectSteps("epoch/\(name)", epochs) }
    for (name, numbers) in [
        ("train_loss", run.epochs.map(\.trainLoss)), ("test_accuracy", run.epochs.map(\.testAccuracy)),
        ("epoch_seconds", run.epochs.map(\.epochSeconds)),
    ] {
        #expect(
            values("epoch/\(name)").map(\.number) == numbers.map { Float($0) }, "\(name) \(comment)",
            sourceLocation: sourceLocation)
    }
    for tag in ["experiment", "session_start_info", "session_end_info"] { expectSteps("_hparams_/\(tag)", [0]) }
    expectSteps("training_images/augmented", [0])
}
