import DenseNetModel
import ImageData
import Support
import Synchronization
import Training

/// Shows a run to the user: its lines, and how far it is.
final class RunReport: RunObserver {
    /// Those that keep what is reported.
    private let recorders: [any RunObserver]
    private let line = Mutex<(line: ProgressLine, progress: RunProgress)?>(nil)

    init(recorders: [any RunObserver] = []) { self.recorders = recorders }

    var wantsStop: Bool { StopSignal.isRaised }

    func endIsNear() {
        StopSignal.takeNote()
        finishLine()
        for recorder in recorders { recorder.endIsNear() }
    }

    func warn(_ message: String) { Console.note(withOptionNames(message)) }

    func runBegins(_ run: TrainingRun) {
        for warning in run.data.warnings { Console.note(warning) }
        for recorder in recorders { recorder.runBegins(run) }
        let configuration = run.configuration
        let network = configuration.network
        Console.say(
            "\(configuration.model): \(run.step.network.table.parameterCount) parameters, "
                + "\(network.image)×\(network.image) images, \(network.classes) classes")
        let ranks = run.communicator.size
        Console.say(
            "\(ranks) rank\(ranks == 1 ? "" : "s"), \(run.data.train.count) training and \(run.data.test.count) test images"
                + " (\(configuration.data.path ?? "synthetic")), \(configuration.batchSize) a step, "
                + "\(run.stepsPerEpoch) steps an epoch, "
                + "\(configuration.epochs) epoch\(configuration.epochs == 1 ? "" : "s")")
        Console.say("run folder: \(run.path)")
        guard run.isResumed else { return }
        let place =
            run.epochIsTrained
            ? "the evaluation of epoch \(run.epoch)"
            : "epoch \(run.epoch), step \(run.stepInEpoch + 1)"
        Console.say("resuming at \(place)")
    }

    func stepped(_ metrics: StepMetrics) {
        for recorder in recorders { recorder.stepped(metrics) }
    }

    func advanced(_ progress: RunProgress) {
        line.withLock { shown in
            var line = shown?.line
            if shown?.progress.phase != progress.phase || shown?.progress.epoch != progress.epoch {
                line?.finish()
                line = nil
            }
            var current =
                line
                ?? ProgressLine(
                    phase: progress.phase == .training ? "Training" : "Test", epoch: progress.epoch,
                    total: progress.total)
            current.update(done: progress.done, loss: progress.loss, accuracy: progress.accuracy)
            let isDone = progress.done == progress.total
            if isDone { current.finish() }
            shown = isDone ? nil : (current, progress)
        }
    }

    private func finishLine() {
        line.withLock { shown in
            shown?.line.finish()
            shown = nil
        }
    }

    func epochEnded(_ epoch: EpochMetrics, _ evaluation: Evaluation) {
        finishLine()
        for recorder in recorders { recorder.epochEnded(epoch, evaluation) }
        func number(_ value: Double) -> String { value.formatted(places: 4) }
        let name = String(epoch.epoch).paddedWithZeros(to: 3)
        Console.say(
            "epoch \(name), Training loss: \(number(epoch.trainLoss)), "
                + "Training accuracy: \(number(epoch.trainAccuracy))")
        Console.say(
            "Test loss: \(number(epoch.testLoss)), Test accuracy: \(number(epoch.testAccuracy))  "
                + "(\(epoch.imagesPerSecond.formatted(places: 1)) images/s, waited "
                + "\(epoch.dataWaitSeconds.formatted(places: 2)) s for data, "
                + "\(epoch.checkpointWaitSeconds.formatted(places: 2)) s for checkpoints)")
    }

    func runEnded(_ run: TrainingRun) {
        for recorder in recorders { recorder.runEnded(run) }
        if let checkpoints = run.checkpointSummary {
            Console.say(
                "checkpoints: \(checkpoints.written) written, training waited "
                    + "\(checkpoints.waitSeconds.formatted(places: 2)) s for them"
                    + (checkpoints.best.map { "; best.safetensors is of epoch \($0.epoch)" } ?? ""))
        }
        Console.say("weights: \(run.path)/weights.safetensors")
    }
}
