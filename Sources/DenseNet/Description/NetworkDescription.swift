import Support

/// What a network consists of and costs: the table that a write-up prints, with its totals.
///
/// All numbers follow from the configuration; nothing is allocated, so a network too large for this machine can be
/// described too.
public struct NetworkDescription: Sendable {
    /// One operation of the network, in the order of the forward pass.
    public struct Layer: Sendable, Equatable {
        /// torchvision's name, such as `features.denseblock1.denselayer1.conv2`.
        ///
        /// Concatenations and what follows `features.norm5` are plain functions there and get a name of the same kind.
        public let name: String
        /// What it does, such as `conv 3×3` or `norm`.
        public let operation: String
        /// Of one image's output: [channels, height, width], or [classes].
        public let shape: [Int]
        /// Trainable numbers; 0 for what has none.
        public let parameters: Int
        /// Of a forward pass of one image; convolutions and the classifier, as papers count them.
        public let multiplyAccumulates: Int
    }

    /// The network that is described.
    public let configuration: DenseNetConfiguration
    /// The images of a rank's batch, which `memory` is for.
    package let batchSize: Int
    /// All operations, in the order of the forward pass.
    public let layers: [Layer]
    /// Convolutions and the classifier: the L of the paper's DenseNet-L.
    public let depth: Int
    /// All of them are trained.
    public let parameters: Int
    /// Running means and variances of all batch norms.
    package let runningStatistics: Int
    /// What this program saves of `multiplyAccumulates`, as its transitions pool before they convolve.
    package let savedMultiplyAccumulates: Int
    /// What one rank allocates to train on `batchSize` images.
    package let memory: TrainingMemory
    /// ResNet-101 for the same images and classes; beside networks with the ImageNet stem only.
    package let comparison: ResNet?

    /// - Parameters:
    ///   - configuration: the network to describe.
    ///   - batchSize: the images of a rank's batch.
    /// - Throws: `Failure(.usage)` on an impossible configuration or a batch size outside of 1 to 65,536.
    public init(_ configuration: DenseNetConfiguration, batchSize: Int) throws {
        try configuration.validate()
        guard (1...65_536).contains(batchSize) else {
            throw Failure(.usage, "batch size \(batchSize): expected 1 to 65,536 images a rank")
        }
        let table = ParameterTable(configuration)
        self.configuration = configuration
        self.batchSize = batchSize
        layers = table.operations.flatMap(Self.layers)
        depth = table.trainable.count { $0.isWeight }
        parameters = table.parameterCount
        runningStatistics = table.statisticsCount
        savedMultiplyAccumulates = table.convolutions.reduce(0) { sum, convolution in
            let saved = convolution.size * convolution.size - convolution.computedSize * convolution.computedSize
            return sum + convolution.weight.count * saved
        }
        memory = TrainingMemory(configuration, images: batchSize, training: true, threads: 1, precision: .float32)
        comparison =
            configuration.stem == .imagenet
            ? .resNet101(classes: configuration.classes, image: configuration.image) : nil
    }

    /// Of a forward pass of one image; convolutions and the classifier, a transition's at full resolution, as the paper
    /// has it.
    public var multiplyAccumulates: Int { layers.reduce(0) { $0 + $1.multiplyAccumulates } }

    /// Floating-point operations to train on one image: two a multiply-accumulate, each of forward, backward to the
    /// data and backward to the weights; but the stem's data, the image, needs no gradient.
    package var trainingOperations: Int { 6 * multiplyAccumulates - 2 * layers[0].multiplyAccumulates }

    /// What one rank allocates to train on `batchSize` images, in bytes: `memory` in all.
    public var trainingBytes: Int { memory.total }

    /// The name by which papers call the network, such as `DenseNet-121` or `DenseNet-BC-100`.
    public var name: String {
        var letters = ""
        if configuration.stem == .cifar {
            if configuration.bottleneck { letters += "B" }
            if configuration.compression < 1 { letters += "C" }
        }
        return "DenseNet-" + (letters.isEmpty ? "" : letters + "-") + String(depth)
    }
}

extension NetworkDescription {
    /// The lines of one operation: a norm has one of its own and one of its ReLU.
    private static func layers(_ operation: Operation) -> [Layer] {
        func line(
            _ name: String, _ operation: String, _ channels: Int, _ size: Int, parameters: Int = 0
        ) -> Layer {
            Layer(
                name: name, operation: operation, shape: [channels, size, size], parameters: parameters,
                multiplyAccumulates: 0)
        }
        switch operation {
        case .convolution(let convolution): return [layer(convolution)]
        case .norm(let norm, let size):
            var words = norm.weight.name.split(separator: ".").dropLast().map(String.init)
            let name = words.joined(separator: ".")
            words.append("relu" + words.removeLast().dropFirst("norm".count))
            return [
                line(name, "norm", norm.channels, size, parameters: 2 * norm.channels),
                line(words.joined(separator: "."), "relu", norm.channels, size),
            ]
        case .concatenation(let name, let channels, let size): return [line(name, "concat", channels, size)]
        case .maxPool(let channels, let size): return [line("features.pool0", "max-pool 3×3/2", channels, size)]
        case .averagePool(let name, let channels, let size): return [line(name, "avg-pool 2×2/2", channels, size)]
        case .globalAveragePool(let channels, let size):
            return [line("features.pool5", "avg-pool \(size)×\(size)", channels, 1)]
        case .classifier(let weight, let bias):
            return [
                Layer(
                    name: "classifier", operation: "linear", shape: bias.shape, parameters: weight.count + bias.count,
                    multiplyAccumulates: weight.count)
            ]
        }
    }

    private static func layer(_ convolution: Convolution) -> Layer {
        let kernel = convolution.weight.shape[2]
        let size = convolution.size
        let stride = convolution.stride > 1 ? "/\(convolution.stride)" : ""
        return Layer(
            name: convolution.name, operation: "conv \(kernel)×\(kernel)" + stride,
            shape: [convolution.outputs, size, size], parameters: convolution.weight.count,
            multiplyAccumulates: convolution.weight.count * size * size)
    }
}
