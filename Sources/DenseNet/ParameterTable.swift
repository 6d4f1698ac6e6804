/// A trainable tensor or a running statistic: its name, shape and offset in its flat buffer.
package struct Parameter: Sendable, Equatable {
    /// torchvision's name, such as `features.denseblock1.denselayer1.norm1.weight`.
    package let name: String
    package let shape: [Int]
    /// The first element's index in the flat buffer.
    package let offset: Int
    /// Whether it is the weight of a convolution or of the classifier, rather than a norm's parameter or a bias.
    package let isWeight: Bool
    package let count: Int

    init(name: String, shape: [Int], offset: Int, isWeight: Bool) {
        self.name = name
        self.shape = shape
        self.offset = offset
        self.isWeight = isWeight
        count = shape.reduce(1, *)
    }

    package var range: Range<Int> { offset..<offset + count }
}

/// A batch norm's parameters and running statistics.
package struct NormParameters: Sendable {
    package let weight: Parameter
    package let bias: Parameter
    package let runningMean: Parameter
    package let runningVariance: Parameter

    package var channels: Int { weight.count }
}

/// The names (torchvision's), shapes and offsets of all parameters, and the operations that use them.
///
/// The flat buffers are in the reverse of the order of use in forward, so that backward fills the gradients from front
/// to back. `trainable`, `runningStatistics` and `operations` are in the order of use.
package struct ParameterTable: Sendable {
    package struct Plain: Sendable {
        package let norm: NormParameters
        package let conv: Parameter
    }

    package struct Bottleneck: Sendable {
        package let norm1: NormParameters
        package let conv1: Parameter
        package let norm2: NormParameters
        package let conv2: Parameter
    }

    package enum DenseLayer: Sendable {
        case plain(Plain)
        case bottleneck(Bottleneck)

        /// The norm that reads the block's channels.
        package var norm: NormParameters {
            switch self {
            case .plain(let layer): layer.norm
            case .bottleneck(let layer): layer.norm1
            }
        }

        /// The end of the layer's gradients in the flat buffer.
        package var end: Int { norm.weight.range.upperBound }
    }

    package struct Transition: Sendable {
        package let norm: NormParameters
        package let conv: Parameter

        package var end: Int { norm.weight.range.upperBound }
    }

    package let stemConvolution: Parameter
    /// With the ImageNet stem only.
    package let stemNorm: NormParameters?
    package let blocks: [[DenseLayer]]
    package let transitions: [Transition]
    package let finalNorm: NormParameters
    package let classifierWeight: Parameter
    package let classifierBias: Parameter

    /// All operations, in the order of use.
    package let operations: [Operation]
    /// All trainable tensors, in the order of use.
    package let trainable: [Parameter]
    /// All running means and variances, in the order of use.
    package let runningStatistics: [Parameter]
    /// Weight, then bias.
    package var classifier: [Parameter] { [classifierWeight, classifierBias] }

    /// The number of elements of all trainable tensors.
    package let parameterCount: Int
    /// The number of elements of all running statistics.
    package let runningStatisticsCount: Int

    /// All convolutions, in the order of use.
    package var convolutions: [Convolution] {
        operations.compactMap { if case .convolution(let convolution) = $0 { convolution } else { nil } }
    }

    package init(_ configuration: DenseNetConfiguration) {
        parameterCount = configuration.parameterCount
        var builder = Builder(next: parameterCount)
        var blocks = [[DenseLayer]](repeating: [], count: configuration.blocks.count)
        var transitions: [Transition] = []
        (stemConvolution, stemNorm) = builder.stem(configuration)
        for part in configuration.parts {
            switch part {
            case .denseLayer(let block, let layer, let channels):
                blocks[block].append(builder.denseLayer(configuration, block, layer, channels))
            case .transition(let block, let channels):
                transitions.append(builder.transition(configuration, block, channels))
            }
        }
        self.blocks = blocks
        self.transitions = transitions
        (finalNorm, classifierWeight, classifierBias) = builder.head(configuration)
        operations = builder.operations
        trainable = builder.trainable
        runningStatistics = builder.runningStatistics
        runningStatisticsCount = builder.runningStatisticsCount
        precondition(builder.next == 0, "the size of the parameter table is off by \(builder.next)")
    }
}

extension DenseNetConfiguration {
    /// A part of the network between stem and head.
    enum Part {
        /// A dense layer that reads `channels` channels.
        case denseLayer(block: Int, layer: Int, channels: Int)
        /// The transition after a block of `channels` channels.
        case transition(block: Int, channels: Int)
    }

    /// In the order of use.
    var parts: some Sequence<Part> {
        let (inputs, outputs) = (blockInputs, blockChannels)
        return blocks.indices.lazy.flatMap { b in
            let layers = (0..<blocks[b]).map { l in
                Part.denseLayer(block: b, layer: l, channels: inputs[b] + l * growthRate(ofBlock: b))
            }
            return b + 1 < blocks.count ? layers + [.transition(block: b, channels: outputs[b])] : layers
        }
    }

    var stemKernel: Int { stem == .cifar ? 3 : 7 }

    /// The number of elements of all trainable tensors, computed without building the table.
    var parameterCount: Int {
        var count = stemChannels * imageChannels * stemKernel * stemKernel + (stem == .cifar ? 0 : 2 * stemChannels)
        for part in parts {
            switch part {
            case .denseLayer(let block, _, let channels) where bottleneck:
                let k = growthRate(ofBlock: block)
                count += 2 * channels + channels * 4 * k + 8 * k + 36 * k * k
            case .denseLayer(let block, _, let channels):
                count += 2 * channels + 9 * channels * growthRate(ofBlock: block)
            case .transition(let block, let channels): count += 2 * channels + channels * blockInputs[block + 1]
            }
        }
        let features = blockChannels.last ?? 0
        return count + 2 * features + classes * (features + 1)
    }
}

extension ParameterTable {
    /// Assigns offsets from the end of the buffer towards its front.
    private struct Builder {
        var next: Int
        var operations: [Operation] = []
        var trainable: [Parameter] = []
        var runningStatistics: [Parameter] = []
        var runningStatisticsCount = 0

        mutating func stem(_ configuration: DenseNetConfiguration) -> (Parameter, NormParameters?) {
            let channels = configuration.stemChannels
            let kernel = configuration.stemKernel
            let size = configuration.stemConvolutionSize
            let weight = convolution(
                .stem, "features.conv0", [channels, configuration.imageChannels, kernel, kernel],
                stride: configuration.stemStride, size: size)
            guard configuration.stem == .imagenet else { return (weight, nil) }
            let norm = norm("features.norm0", channels, size: size)
            operations.append(.maxPool(channels: channels, size: configuration.blockSizes[0]))
            return (weight, norm)
        }

        mutating func denseLayer(
            _ configuration: DenseNetConfiguration, _ block: Int, _ layer: Int, _ channels: Int
        ) -> DenseLayer {
            let name = "features.denseblock\(block + 1).denselayer\(layer + 1)"
            let size = configuration.blockSizes[block]
            let k = configuration.growthRate(ofBlock: block)
            defer {
                operations.append(.concatenation(name: "\(name).concat", channels: channels + k, size: size))
            }
            let norm1 = norm("\(name).norm1", channels, size: size)
            guard configuration.bottleneck else {
                return .plain(
                    Plain(norm: norm1, conv: convolution(.growth, "\(name).conv1", [k, channels, 3, 3], size: size)))
            }
            return .bottleneck(
                Bottleneck(
                    norm1: norm1,
                    conv1: convolution(.pointwise, "\(name).conv1", [4 * k, channels, 1, 1], size: size),
                    norm2: norm("\(name).norm2", 4 * k, size: size),
                    conv2: convolution(.growth, "\(name).conv2", [k, 4 * k, 3, 3], size: size)))
        }

        mutating func transition(
            _ configuration: DenseNetConfiguration, _ block: Int, _ channels: Int
        ) -> Transition {
            let name = "features.transition\(block + 1)"
            let sizes = configuration.blockSizes
            let outputs = configuration.blockInputs[block + 1]
            let transition = Transition(
                norm: norm("\(name).norm", channels, size: sizes[block]),
                conv: convolution(
                    .transition, "\(name).conv", [outputs, channels, 1, 1], size: sizes[block],
                    computedSize: sizes[block + 1]))
            operations.append(.averagePool(name: "\(name).pool", channels: outputs, size: sizes[block + 1]))
            return transition
        }

        mutating func head(_ configuration: DenseNetConfiguration) -> (NormParameters, Parameter, Parameter) {
            let features = configuration.blockChannels.last ?? 0
            let size = configuration.blockSizes.last ?? 0
            let norm = norm("features.norm5", features, size: size)
            operations.append(.globalAveragePool(channels: features, size: size))
            let weight = add("classifier.weight", [configuration.classes, features], isWeight: true)
            let bias = add("classifier.bias", [configuration.classes], isWeight: false)
            operations.append(.classifier(weight: weight, bias: bias))
            return (norm, weight, bias)
        }

        private mutating func convolution(
            _ kind: Convolution.Kind, _ name: String, _ shape: [Int], stride: Int = 1, size: Int,
            computedSize: Int? = nil
        ) -> Parameter {
            let weight = add("\(name).weight", shape, isWeight: true)
            operations.append(
                .convolution(
                    Convolution(
                        kind: kind, weight: weight, stride: stride, size: size, computedSize: computedSize ?? size)))
            return weight
        }

        private mutating func norm(_ name: String, _ channels: Int, size: Int) -> NormParameters {
            let norm = NormParameters(
                weight: add("\(name).weight", [channels], isWeight: false),
                bias: add("\(name).bias", [channels], isWeight: false),
                runningMean: statistic("\(name).running_mean", channels),
                runningVariance: statistic("\(name).running_var", channels))
            operations.append(.norm(norm, size: size))
            return norm
        }

        private mutating func add(_ name: String, _ shape: [Int], isWeight: Bool) -> Parameter {
            next -= shape.reduce(1, *)
            let parameter = Parameter(name: name, shape: shape, offset: next, isWeight: isWeight)
            trainable.append(parameter)
            return parameter
        }

        private mutating func statistic(_ name: String, _ channels: Int) -> Parameter {
            let parameter = Parameter(name: name, shape: [channels], offset: runningStatisticsCount, isWeight: false)
            runningStatisticsCount += channels
            runningStatistics.append(parameter)
            return parameter
        }
    }
}
