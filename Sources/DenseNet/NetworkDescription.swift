import Support

/// What a network consists of and costs: the table that a write-up prints, with its totals.
///
/// All numbers follow from the configuration; nothing is allocated, so a network too large for this machine can be
/// described too.
package struct NetworkDescription: Sendable {
    /// One operation of the network, in the order of the forward pass.
    package struct Layer: Sendable, Equatable {
        /// torchvision's name, such as `features.denseblock1.denselayer1.conv2`.
        ///
        /// Concatenations and what follows `features.norm5` are plain functions there and get a name of the same kind.
        package let name: String
        /// What it does, such as `conv 3×3` or `norm`.
        package let operation: String
        /// Of one image's output: [channels, height, width], or [classes].
        package let shape: [Int]
        /// Learnt numbers.
        package let parameters: Int
        /// Of a forward pass of one image; convolutions and the classifier, as papers count them.
        package let multiplyAccumulates: Int
    }

    package let configuration: DenseNetConfiguration
    /// The images of a rank's batch, which `memory` is for.
    package let batchSize: Int
    package let layers: [Layer]
    /// Convolutions and the classifier: the L of the paper's DenseNet-L.
    package let depth: Int
    /// Learnt numbers; all are trained.
    package let parameters: Int
    /// Running means and variances of all batch norms.
    package let runningStatistics: Int
    /// What this program saves of `multiplyAccumulates`, as its transitions pool before they convolve.
    package let savedMultiplyAccumulates: Int
    /// What one rank allocates to train on `batchSize` images.
    package let memory: TrainingMemory
    /// ResNet-101 for the same images and classes; beside networks with the ImageNet stem only.
    package let comparison: ResNet?

    /// - Parameter batchSize: the images of a rank's batch.
    /// - Throws: `Failure(.usage)` on an impossible configuration or a batch size outside of 1 to 65,536.
    package init(_ configuration: DenseNetConfiguration, batchSize: Int) throws {
        try configuration.validate()
        guard (1...65_536).contains(batchSize) else {
            throw Failure(.usage, "batch size \(batchSize): expected 1 to 65,536 images a rank")
        }
        let table = ParameterTable(configuration)
        self.configuration = configuration
        self.batchSize = batchSize
        layers = LayerList(configuration, table).layers
        depth = table.learnt.count { $0.isWeight }
        parameters = table.learntCount
        runningStatistics = table.statisticsCount
        let sizes = configuration.blockSizes
        savedMultiplyAccumulates = table.transitions.enumerated().reduce(0) { sum, transition in
            let before = sizes[transition.offset]
            let after = sizes[transition.offset + 1]
            return sum + transition.element.conv.count * (before * before - after * after)
        }
        memory = TrainingMemory(configuration, table, images: batchSize)
        comparison =
            configuration.stem == .imagenet
            ? .resNet101(classes: configuration.classes, image: configuration.image) : nil
    }

    /// Of a forward pass of one image; convolutions and the classifier, a transition's at full resolution, as the paper
    /// has it.
    package var multiplyAccumulates: Int { layers.reduce(0) { $0 + $1.multiplyAccumulates } }

    /// Floating-point operations to train on one image: two a multiply-accumulate, each of forward, backward to the
    /// data and backward to the weights; but the stem's data, the image, needs no gradient.
    package var trainingOperations: Int { 6 * multiplyAccumulates - 2 * layers[0].multiplyAccumulates }

    /// What one rank allocates to train on `batchSize` images, in bytes: `memory` in all.
    package var trainingBytes: Int { memory.total }

    /// The name by which papers call the network, such as `DenseNet-121` or `DenseNet-BC-100`.
    package var name: String {
        var letters = ""
        if configuration.stem == .cifar {
            if configuration.bottleneck { letters += "B" }
            if configuration.compression < 1 { letters += "C" }
        }
        return "DenseNet-" + (letters.isEmpty ? "" : letters + "-") + String(depth)
    }
}

/// Builds the list of layers from the parameters and the resolutions.
private struct LayerList {
    private(set) var layers: [NetworkDescription.Layer] = []

    init(_ configuration: DenseNetConfiguration, _ table: ParameterTable) {
        let sizes = configuration.blockSizes
        let stride = configuration.stem == .cifar ? 1 : 2
        add(convolution: table.stemConvolution, stride: stride, size: configuration.stemConvolutionSize)
        if let norm = table.stemNorm {
            add(norm: norm, size: configuration.stemConvolutionSize)
            add("features.pool0", "max-pool 3×3/2", [norm.channels, sizes[0], sizes[0]])
        }
        for (b, denseLayers) in table.blocks.enumerated() {
            for layer in denseLayers { add(layer, size: sizes[b]) }
            guard b < table.transitions.count else { break }
            let transition = table.transitions[b]
            add(norm: transition.norm, size: sizes[b])
            add(convolution: transition.conv, size: sizes[b])
            add(
                "features.transition\(b + 1).pool", "avg-pool 2×2/2",
                [transition.conv.shape[0], sizes[b + 1], sizes[b + 1]])
        }
        let size = sizes[sizes.count - 1]
        add(norm: table.finalNorm, size: size)
        add("features.pool5", "avg-pool \(size)×\(size)", [table.finalNorm.channels, 1, 1])
        add(
            "classifier", "linear", table.classifierBias.shape,
            parameters: table.classifierWeight.count + table.classifierBias.count,
            multiplyAccumulates: table.classifierWeight.count)
    }

    private mutating func add(
        _ name: String, _ operation: String, _ shape: [Int], parameters: Int = 0, multiplyAccumulates: Int = 0
    ) {
        layers.append(
            .init(
                name: name, operation: operation, shape: shape, parameters: parameters,
                multiplyAccumulates: multiplyAccumulates))
    }

    private mutating func add(convolution weight: Parameter, stride: Int = 1, size: Int) {
        let kernel = weight.shape[2]
        add(
            String(weight.name.dropLast(".weight".count)),
            "conv \(kernel)×\(kernel)" + (stride > 1 ? "/\(stride)" : ""), [weight.shape[0], size, size],
            parameters: weight.count, multiplyAccumulates: weight.count * size * size)
    }

    /// A norm and the ReLU behind it: `norm1` and `relu1`.
    private mutating func add(norm: NormParameters, size: Int) {
        var words = norm.weight.name.split(separator: ".").dropLast().map(String.init)
        let shape = [norm.channels, size, size]
        add(words.joined(separator: "."), "norm", shape, parameters: norm.weight.count + norm.bias.count)
        words.append("relu" + words.removeLast().dropFirst("norm".count))
        add(words.joined(separator: "."), "relu", shape)
    }

    private mutating func add(_ layer: ParameterTable.DenseLayer, size: Int) {
        add(norm: layer.norm1, size: size)
        add(convolution: layer.conv1, size: size)
        if let norm2 = layer.norm2, let conv2 = layer.conv2 {
            add(norm: norm2, size: size)
            add(convolution: conv2, size: size)
        }
        let growth = (layer.conv2 ?? layer.conv1).shape[0]
        let name = layer.norm1.weight.name.split(separator: ".").dropLast(2).joined(separator: ".")
        add("\(name).concat", "concat", [layer.norm1.channels + growth, size, size])
    }
}
