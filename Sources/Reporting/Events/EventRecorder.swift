import Support
import Synchronization
import Training

/// Writes what a run reports as TensorBoard's event files, below `RUN/events`.
///
/// Steps are thinned (`EventPlan`), kept in memory and written before each checkpoint, so that a resumed run has all
/// that it does not repeat; an epoch's numbers are written when it is evaluated. A failure ends the recording with one
/// warning; training goes on.
package final class EventRecorder: RunObserver {
    private let report: @Sendable (String) -> Void
    /// Nil before the run begins, on ranks that report nothing, and after a failure.
    private let log: Mutex<EventLog?>

    /// - Parameters:
    ///   - log: of a run that has begun already.
    ///   - report: called with the warning, on the thread that trains.
    package init(_ log: EventLog? = nil, report: @escaping @Sendable (String) -> Void) {
        self.log = Mutex(log)
        self.report = report
    }

    package func runBegins(_ run: TrainingRun) {
        let stepsPerEpoch = run.stepsPerEpoch
        log.withLock { log in
            attempt(&log) { log in
                log = try EventLog(
                    ofRun: run.path, plan: EventPlan(run.configuration, stepsPerEpoch: stepsPerEpoch),
                    step: (run.epoch - 1) * stepsPerEpoch + run.stepInEpoch, epoch: run.epoch - 1,
                    host: run.machine.hosts[0])
                try log?.begin(run.configuration, images: run.data.train, normalization: run.data.normalization)
            }
        }
    }

    package func stepped(_ metrics: StepMetrics) { record { try $0?.add(metrics) } }

    package func epochEnded(_ metrics: EpochMetrics, _ evaluation: Evaluation) {
        record { try $0?.add(metrics, evaluation) }
    }

    package func runEnded(_ run: TrainingRun) { record { try $0?.end() } }

    package func endIsNear() { record { try $0?.finishSteps() } }

    private func record(_ body: (inout EventLog?) throws -> Void) { log.withLock { attempt(&$0, body) } }

    private func attempt(_ log: inout EventLog?, _ body: (inout EventLog?) throws -> Void) {
        do { try body(&log) } catch {
            log = nil
            report("\(error); training continues without event files")
        }
    }
}
