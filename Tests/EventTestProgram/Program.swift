import AllocationCounter
import Reporting
import Support
import Training

/// Records the steps of two epochs in event files below a folder: `FOLDER STEPS`, of each epoch. Prints how often
/// memory is allocated in the second epoch, but for its last step.
@main
struct Program {
    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let steps = Int(arguments[2]), steps > 1 else {
            throw Failure(.usage, "expected FOLDER STEPS")
        }
        guard allocation_counter_works() == 1 else { return print("not counted") }
        let recorder = try EventRecorder(
            EventLog(
                ofRun: arguments[1], plan: EventPlan(epochs: 2, stepsPerEpoch: steps), step: 0, epoch: 0, host: "host"),
            report: { print($0) })
        func record(_ steps: Range<Int>) {
            for step in steps {
                recorder.stepped(
                    StepMetrics(
                        epoch: 1, step: step, loss: 1, accuracy: 0.5, learningRate: 0.1, images: 64, seconds: 0.1,
                        dataWaitSeconds: 0))
            }
        }
        record(1..<steps + 1)
        allocation_counter_start()
        record(steps + 1..<2 * steps)
        let count = allocation_counter_stop()
        print(count)
        record(2 * steps..<2 * steps + 1)
    }
}
