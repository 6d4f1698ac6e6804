import Support

/// A network's layers, parameters, operations and memory, with totals.
///
/// All numbers are derived from the configuration; nothing is allocated, so a network may be too large for this
/// machine.
public struct NetworkDescription: Sendable {
    /// One operation of the network, in the order of the forward pass.
    public struct Layer: Sendable, Equatable {
        /// torchvision's name, such as `features.denseblock1.denselayer1.conv2`.
        ///
        /// Concatenations and what follows `features.norm5` have no name there and get a similar one.
        public let name: String
        /// Such as `conv 3×3` or `norm`.
        public let operation: String
        /// The output's shape for one image: [channels, height, width], or [classes].
        public let shape: [Int]
        /// The number of trainable parameters.
        public let parameters: Int
        /// In the forward pass of one image; papers count convolutions and the classifier only.
        public let multiplyAccumulates: Int
    }

    /// The described network.
    public let configuration: DenseNetConfiguration
    /// Images per rank, the basis of `memory`.
    package let batchSize: Int
    /// Images of a group with batch statistics of its own; nil where these are of the global batch.
    package let statisticsGroup: Int?
    /// All operations, in the order of the forward pass.
    public let layers: [Layer]
    /// Convolutions and the classifier: the L of the paper's DenseNet-L, but for its DenseNet-264, which has 265.
    public let depth: Int
    /// The number of trainable parameters; there are no others.
    public let parameters: Int
    /// The number of running means and variances.
    package let runningStatistics: Int
    /// How many of `multiplyAccumulates` this implementation saves by pooling before a transition's convolution.
    package let savedMultiplyAccumulates: Int
    /// What one rank allocates to train on `batchSize` images.
    package let memory: TrainingMemory
    /// ResNet-101 for the same images and classes; nil for networks without the ImageNet stem.
    package let comparison: ResNet?

    /// - Parameters:
    ///   - configuration: the network to describe.
    ///   - batchSize: images per rank.
    ///   - statisticsGroup: images of a group with batch statistics of its own; nil for those of the global batch.
    /// - Throws: `Failure(.usage)` for an invalid configuration, a batch size outside of 1 to 65,536 or an empty group.
    public init(_ configuration: DenseNetConfiguration, batchSize: Int, statisticsGroup: Int? = nil) throws {
        try configuration.validate()
        guard (1...65_536).contains(batchSize) else {
            throw Failure(.usage, "batch size \(batchSize): expected 1 to 65,536 images per rank")
        }
        guard statisticsGroup ?? 1 >= 1 else {
            throw Failure(.usage, "`statisticsGroup` is \(statisticsGroup ?? 1), expected 1 image or more")
        }
        let table = ParameterTable(configuration)
        self.configuration = configuration
        self.batchSize = batchSize
        self.statisticsGroup = statisticsGroup
        layers = table.operations.flatMap(Self.layers)
        depth = table.trainable.count { $0.isWeight }
        parameters = table.parameterCount
        runningStatistics = table.runningStatisticsCount
        savedMultiplyAccumulates = table.convolutions.reduce(0) { sum, convolution in
            let saved = convolution.size * convolution.size - convolution.computedSize * convolution.computedSize
            return sum + convolution.weight.count * saved
        }
        memory = TrainingMemory(
            configuration, images: min(batchSize, statisticsGroup ?? batchSize), training: true, threads: 1,
            precision: .float32, hasGroups: statisticsGroup ?? batchSize < batchSize)
        comparison =
            configuration.stem == .imagenet
            ? .resNet101(classes: configuration.classes, image: configuration.image) : nil
    }

    /// In the forward pass of one image: convolutions and the classifier, with a transition's convolution at full
    /// resolution as in the paper.
    public var multiplyAccumulates: Int { layers.reduce(0) { $0 + $1.multiplyAccumulates } }

    /// Floating-point operations to train on one image: two per multiply-accumulate in each of forward, data gradient
    /// and weight gradient. The stem needs no data gradient.
    package var trainingOperations: Int { 6 * multiplyAccumulates - 2 * layers[0].multiplyAccumulates }

    /// Bytes that one rank allocates to train on `batchSize` images.
    public var trainingBytes: Int { memory.total }

    /// The network's name in papers, such as `DenseNet-121` or `DenseNet-BC-100`.
    public var name: String {
        if let number = configuration.imageNetNumber { return "DenseNet-" + number }
        var letters = ""
        if configuration.stem == .cifar {
            if configuration.bottleneck { letters += "B" }
            if configuration.compression < 1 { letters += "C" }
        }
        return "DenseNet-" + (letters.isEmpty ? "" : letters + "-") + String(depth)
    }
}

extension NetworkDescription {
    /// The table's lines for one operation; a norm has a second line for its ReLU.
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
