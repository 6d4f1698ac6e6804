import FoundationEssentials
import Support

/// What weights say of the training that made them, in a file's metadata. Nothing in it depends on the clock or the
/// machine: equal runs write equal files.
package struct TrainingSummary: Codable, Sendable, Equatable {
    private static let metadataKey = "training"

    /// Which weights a file has.
    enum Weights {
        /// Those that the steps have moved.
        case trained
        /// Their moving average.
        case averaged
    }

    /// The model's name, or `custom`.
    package let model: String
    /// Epochs done.
    package let epochs: Int
    /// How the weights were averaged; nil where they are as training left them.
    package let averageDecay: Double?
    /// After them, of the weights in the file: mean cross-entropy, nil where it is no number.
    package let testLoss: Double?
    /// Likewise, from 0 to 1.
    package let testAccuracy: Double?
    package let seed: UInt64
    /// Over all ranks.
    package let batchSize: Int
    /// The name of the folder of images, without its parents, or `synthetic`.
    package let data: String
    /// Of an epoch.
    package let trainImages: Int

    enum CodingKeys: String, CodingKey {
        case model, epochs, seed, data
        case averageDecay = "ema"
        case testLoss = "test_loss"
        case testAccuracy = "test_accuracy"
        case batchSize = "batch_size"
        case trainImages = "train_images"
    }

    /// - Parameters:
    ///   - trainImages: images of an epoch.
    ///   - metrics: of the last epoch; with those of the average where the weights are averaged.
    init(_ weights: Weights, _ configuration: RunConfiguration, trainImages: Int, after metrics: EpochMetrics) {
        model = configuration.model
        epochs = metrics.epoch
        let result = weights == .trained ? metrics.test : metrics.average
        averageDecay = weights == .trained ? nil : configuration.averageDecay
        testLoss = result?.loss.ifFinite
        testAccuracy = result?.accuracy.ifFinite
        seed = configuration.seed
        batchSize = configuration.batchSize
        data = configuration.data.name
        self.trainImages = trainImages
    }

    /// The summary in a weights file, if it has one.
    ///
    /// - Parameters:
    ///   - metadata: the file's, `SafetensorsFile.metadata`.
    ///   - path: the file's, for messages.
    /// - Throws: `Failure(.data)` where it cannot be understood.
    package init?(metadata: [String: String], path: String) throws {
        guard let text = metadata[Self.metadataKey] else { return nil }
        do { self = try JSONDecoder().decode(TrainingSummary.self, from: Data(text.utf8)) } catch {
            throw Failure(
                .data, "\(path): the metadata key '\(Self.metadataKey)' is no summary of a training; fix or remove it")
        }
    }

    /// The metadata that `init(metadata:path:)` reads.
    var metadata: [String: String] {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return [Self.metadataKey: String(decoding: try encoder.encode(self), as: UTF8.self)]
        }
    }
}

extension RunConfiguration.DataSource {
    /// The name of the folder of images, without its parents, or `synthetic`.
    package var name: String { path?.split(separator: "/").last.map(String.init) ?? "synthetic" }
}
