import DenseNetModel
@preconcurrency import Glibc
import Safetensors
import Support

/// Makes what exports are compared with: `ExportTestProgram FOLDER`.
///
/// For each network FOLDER gets NAME.safetensors, its weights with a normalization, and NAME.values.safetensors: 64
/// images `colours` in 0…1, the same as the network reads them, `images`, and its `logits`.
@main
struct Program {
    static func main() {
        do {
            guard let folder = CommandLine.arguments.dropFirst().first else {
                throw Failure(.usage, "expected a FOLDER")
            }
            for subject in try Subject.all { try subject.write(to: folder) }
        } catch {
            fputs("\(error)\n", stderr)
            exit(Failure.Kind.internal.rawValue)
        }
    }
}

private struct Subject {
    let name: String
    let configuration: DenseNetConfiguration
    var hasPixelMean = false

    static var all: [Subject] {
        get throws {
            [
                Subject(name: "bc", configuration: try DenseNetConfiguration(model: "densenet-bc-40-12")),
                Subject(
                    name: "plain", configuration: try DenseNetConfiguration(model: "densenet-22-12"), hasPixelMean: true
                ),
                Subject(
                    name: "strided",
                    configuration: DenseNetConfiguration(
                        stem: .cifar, stemStride: 2, blocks: [2, 3, 2], growthRates: [8, 12, 20], stemChannels: 16,
                        bottleneck: true, compression: 0.5, classes: 10, image: 32)),
                Subject(
                    name: "grey",
                    configuration: DenseNetConfiguration(
                        stem: .cifar, blocks: [2, 2], growthRates: [12], stemChannels: 24, bottleneck: true,
                        compression: 0.5, classes: 10, image: 28, imageChannels: 1), hasPixelMean: true),
                Subject(
                    name: "densenet121",
                    configuration: try DenseNetConfiguration(model: "densenet121", classes: 1000, image: 64)),
            ]
        }
    }

    private static let count = 64
    private static let (mean, std): ([Float], [Float]) = ([0.48, 0.45, 0.4], [0.23, 0.22, 0.25])

    func write(to folder: String) throws {
        let network = try trainedNetwork()
        let channels = configuration.imageChannels
        let pixels = configuration.imageCount
        var random = CounterRandom(.synthetic, 7)
        let pixelMean: [Float] = hasPixelMean ? (0..<pixels).map { _ in random.uniform(-0.1, 0.1) } : []
        let colours = (0..<Self.count * pixels).map { _ in random.uniform(0, 1) }
        let images = colours.indices.map { i in
            let channel = i % pixels / (pixels / channels)
            return (colours[i] - Self.mean[channel]) / Self.std[channel] - (hasPixelMean ? pixelMean[i % pixels] : 0)
        }
        try images.withUnsafeBufferPointer { _ = try network.evaluate($0.baseAddress!, count: Self.count) }
        let numbers = hasPixelMean ? ",\"pixelMean\":\(pixelMean)" : ""
        try WeightsFile.write(
            network, to: "\(folder)/\(name).safetensors",
            metadata: [
                "normalization":
                    "{\"mean\":\(Self.mean.prefix(channels)),\"std\":\(Self.std.prefix(channels))\(numbers)}"
            ])
        let shape = [Self.count, channels, configuration.image, configuration.image]
        let logits = Array(network.logits.prefix(Self.count * configuration.classes))
        try SafetensorsWriter.write(
            to: "\(folder)/\(name).values.safetensors",
            tensors: [
                NamedTensor(name: "colours", shape: shape, values: colours),
                NamedTensor(name: "images", shape: shape, values: images),
                NamedTensor(name: "logits", shape: [Self.count, configuration.classes], values: logits),
            ])
    }

    /// Norms and running statistics are not at 1 and 0, where many an error would not show.
    private func trainedNetwork() throws -> TrainableDenseNet {
        let network = try TrainableDenseNet(configuration, capacity: Self.count, threads: 2)
        network.initialize(seed: 3)
        var random = CounterRandom(.weights, 62)
        for parameter in network.table.trainable where parameter.shape.count == 1 {
            for i in parameter.range { network.parameters[i] += random.uniform(-0.2, 0.2) }
        }
        let images = (0..<4 * configuration.imageCount).map { _ in Float(random.normal()) }
        for _ in 0..<10 {
            try images.withUnsafeBufferPointer {
                let pass = try network.forward($0.baseAddress!, count: 4, globalCount: 4, sums: LocalSums())
                _ = pass.loss([Int32](repeating: 0, count: 4))
            }
        }
        return network
    }
}
