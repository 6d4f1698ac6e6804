import Safetensors

/// The epoch of a run whose weights, or their average where there is one, do best with the test images.
struct BestEpoch: Sendable {
    let measure: BestMeasure
    let value: Double
    let position: CheckpointPosition

    init(_ measure: BestMeasure, value: Double, position: CheckpointPosition) {
        (self.measure, self.value, self.position) = (measure, value, position)
    }

    private static let keys = (epoch: "epoch", step: "step")

    private static func key(_ measure: BestMeasure) -> String {
        switch measure {
        case .accuracy: "test_accuracy"
        case .loss: "test_loss"
        case .macroRecall: "macro_recall"
        case .auroc: "auroc"
        }
    }

    /// What a run's file of best weights says; nil where there is none that can be read, or it is of an epoch that a
    /// resumed run, whose last whole epoch is `last`, will go through again.
    init?(path: String, measure: BestMeasure, last: Int) {
        guard let metadata = try? SafetensorsFile(path: path).metadata,
            let epoch = metadata[Self.keys.epoch].flatMap({ Int($0) }),
            let step = metadata[Self.keys.step].flatMap({ Int($0) }), epoch >= 0, step >= 0, epoch <= last,
            let value = metadata[Self.key(measure)].flatMap({ Double($0) })
        else { return nil }
        self.init(measure, value: value, position: CheckpointPosition(epoch: epoch, step: step))
    }

    var metadata: [String: String] {
        [
            Self.keys.epoch: "\(position.epoch)", Self.keys.step: "\(position.step)", Self.key(measure): "\(value)",
        ]
    }
}
