import DenseNetModel
import FoundationEssentials
import Support

extension ExportedNetwork {
    /// Writes a folder for `timm.create_model('local-dir:FOLDER', pretrained=True)`: model.safetensors, then
    /// config.json.
    ///
    /// - Throws: `Failure(.usage)` where timm has no such network or normalization; `Failure(.unavailable)` when the
    ///   system refuses.
    package func writeTimm(to folder: String) throws {
        let architecture = configuration.imageNetNumber.map { "densenet" + $0 }
        guard let architecture, Self.timmNames.contains(architecture) else {
            throw Failure(
                .usage,
                "\(folder): timm has \(Self.timmNames.joined(separator: ", ")) and no other DenseNet of ours; export this "
                    + "one to another format")
        }
        guard normalization?.pixelMean == nil else {
            throw Failure(
                .usage,
                "\(folder): timm normalizes per channel, and this network's images are normalized per pixel; export it to "
                    + "another format")
        }
        let image = configuration.image
        let poolSize = configuration.blockSizes.last ?? 1
        let description = TimmDescription(
            architecture: architecture, numClasses: configuration.classes,
            pretrainedCfg: .init(
                inputSize: [configuration.imageChannels, image, image], poolSize: [poolSize, poolSize],
                mean: normalization?.mean,
                std: normalization?.std, numClasses: configuration.classes))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let text = Array(try encoder.encode(description)) + [UInt8(ascii: "\n")]
        try FileSystem.makeFolder(folder)
        try WeightsFile.write(network, to: folder + "/model.safetensors")
        try AtomicFile.write(text, to: folder + "/config.json")
    }

    private static let timmNames = ["densenet121", "densenet161", "densenet169", "densenet201"]
}

/// timm's config.json.
private struct TimmDescription: Encodable {
    struct Pretrained: Encodable {
        let inputSize: [Int]
        let poolSize: [Int]
        let cropPct = 1.0
        let interpolation = "bilinear"
        /// Left out where they are not known; timm takes ImageNet's then.
        let mean: [Float]?
        let std: [Float]?
        let numClasses: Int
        let firstConv = "features.conv0"
        let classifier = "classifier"
    }

    let architecture: String
    let numClasses: Int
    let pretrainedCfg: Pretrained
}
