import Safetensors

/// The epoch of a run whose weights, or their average where there is one, recognize most test images.
struct BestEpoch: Sendable {
    let accuracy: Double
    let position: CheckpointPosition

    init(accuracy: Double, position: CheckpointPosition) {
        self.accuracy = accuracy
        self.position = position
    }

    private static let keys = (epoch: "epoch", step: "step", accuracy: "test_accuracy")

    /// What a run's file of best weights says; nil where there is none that can be read, or it is of an epoch that a
    /// resumed run, whose last whole epoch is `last`, will go through again.
    init?(path: String, last: Int) {
        guard let metadata = try? SafetensorsFile(path: path).metadata,
            let epoch = metadata[Self.keys.epoch].flatMap({ Int($0) }),
            let step = metadata[Self.keys.step].flatMap({ Int($0) }), epoch >= 0, step >= 0, epoch <= last,
            let accuracy = metadata[Self.keys.accuracy].flatMap({ Double($0) })
        else { return nil }
        self.init(accuracy: accuracy, position: CheckpointPosition(epoch: epoch, step: step))
    }

    var metadata: [String: String] {
        [Self.keys.epoch: "\(position.epoch)", Self.keys.step: "\(position.step)", Self.keys.accuracy: "\(accuracy)"]
    }
}
