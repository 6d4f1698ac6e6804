import Support

/// What the user sees of a run; on rank zero.
extension TrainingRun {
    func announce() {
        for warning in data.warnings { Console.note(warning) }
        let network = configuration.network
        Console.say(
            "\(configuration.model): \(step.network.table.parameterCount) parameters, \(network.image)×\(network.image) images, "
                + "\(network.classes) classes")
        Console.say(
            "\(communicator.size) rank\(communicator.size == 1 ? "" : "s"), \(data.train.count) training and \(data.test.count) test images"
                + " (\(configuration.data.path ?? "synthetic")), \(configuration.batchSize) a step, \(stepsPerEpoch) steps an epoch, "
                + "\(configuration.epochs) epoch\(configuration.epochs == 1 ? "" : "s")")
        Console.say("run folder: \(path)")
        guard state != RunState() else { return }
        let place =
            epochIsTrained
            ? "the evaluation of epoch \(state.epoch)" : "epoch \(state.epoch), step \(state.stepInEpoch + 1)"
        Console.say("resuming at \(place)")
    }

    func report(_ epoch: EpochMetrics) {
        func number(_ value: Double) -> String { value.formatted(places: 4) }
        let name = String(repeating: "0", count: max(0, 3 - String(epoch.epoch).count)) + String(epoch.epoch)
        Console.say(
            "epoch \(name), Training loss: \(number(epoch.trainLoss)), Training accuracy: \(number(epoch.trainAccuracy))"
        )
        Console.say(
            "Test loss: \(number(epoch.testLoss)), Test accuracy: \(number(epoch.testAccuracy))  "
                + "(\(epoch.imagesPerSecond.formatted(places: 1)) images/s, waited "
                + "\(epoch.dataWaitSeconds.formatted(places: 2)) s for data, "
                + "\(epoch.checkpointWaitSeconds.formatted(places: 2)) s for checkpoints)")
    }

    func reportCheckpoints() {
        guard let checkpoints else { return }
        Console.say(
            "checkpoints: \(checkpoints.written) written, training waited "
                + "\(checkpoints.waitSeconds.formatted(places: 2)) s for them"
                + (checkpoints.best.map { "; best.safetensors is of epoch \($0.position.epoch)" } ?? ""))
    }
}
