/// One learnt tensor or one running statistic: its name and where it lies in its flat buffer.
package struct Parameter: Sendable, Equatable {
    /// torchvision's name, such as `features.denseblock1.denselayer1.norm1.weight`.
    package let name: String
    package let shape: [Int]
    /// The first element's place in the flat buffer.
    package let offset: Int
    /// Whether it is a weight of a convolution or of the classifier, not a norm's or a bias.
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

/// The names, shapes and places of all parameters, as torchvision's DenseNet names them.
///
/// In the flat buffers they lie in the reverse of the order in which forward uses them, so that backward fills the
/// gradients from front to back. `learnt` and `statistics` are in the order of use.
package struct ParameterTable: Sendable {
    package struct DenseLayer: Sendable {
        package let norm1: NormParameters
        package let conv1: Parameter
        /// With bottleneck only, as is `conv2`: without, `conv1` is the 3×3 convolution.
        package let norm2: NormParameters?
        package let conv2: Parameter?

        /// All of the layer's gradients end before this place of the flat buffer.
        package var end: Int { norm1.weight.range.upperBound }
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

    /// All learnt tensors, in the order of use.
    package let learnt: [Parameter]
    /// All running means and variances, in the order of use.
    package let statistics: [Parameter]
    /// Weight, then bias.
    package var classifier: [Parameter] { [classifierWeight, classifierBias] }

    /// Learnt numbers in all.
    package let learntCount: Int
    /// Running statistics in all.
    package let statisticsCount: Int

    package init(_ configuration: DenseNetConfiguration) {
        let total = Self.count(configuration)
        var builder = Builder(next: total.learnt)
        let k = configuration.growthRate
        let stemKernel = configuration.stem == .cifar ? 3 : 7
        stemConvolution = builder.weight("features.conv0", [configuration.stemChannels, 3, stemKernel, stemKernel])
        stemNorm = configuration.stem == .cifar ? nil : builder.norm("features.norm0", configuration.stemChannels)
        var blocks: [[DenseLayer]] = []
        var transitions: [Transition] = []
        for (b, layers) in configuration.blocks.enumerated() {
            let input = configuration.blockInputs[b]
            blocks.append(
                (0..<layers).map { l in
                    let name = "features.denseblock\(b + 1).denselayer\(l + 1)"
                    let channels = input + l * k
                    let norm1 = builder.norm("\(name).norm1", channels)
                    guard configuration.bottleneck else {
                        return DenseLayer(
                            norm1: norm1, conv1: builder.weight("\(name).conv1", [k, channels, 3, 3]), norm2: nil,
                            conv2: nil)
                    }
                    return DenseLayer(
                        norm1: norm1, conv1: builder.weight("\(name).conv1", [4 * k, channels, 1, 1]),
                        norm2: builder.norm("\(name).norm2", 4 * k),
                        conv2: builder.weight("\(name).conv2", [k, 4 * k, 3, 3]))
                })
            if b < configuration.blocks.count - 1 {
                let name = "features.transition\(b + 1)"
                let channels = configuration.blockChannels[b]
                transitions.append(
                    Transition(
                        norm: builder.norm("\(name).norm", channels),
                        conv: builder.weight("\(name).conv", [configuration.blockInputs[b + 1], channels, 1, 1])))
            }
        }
        self.blocks = blocks
        self.transitions = transitions
        let features = configuration.blockChannels.last ?? 0
        finalNorm = builder.norm("features.norm5", features)
        classifierWeight = builder.weight("classifier", [configuration.classes, features])
        classifierBias = builder.bias("classifier", [configuration.classes])
        learnt = builder.learnt
        statistics = builder.statistics
        learntCount = total.learnt
        statisticsCount = builder.statisticsCount
        precondition(builder.next == 0, "the table's size was computed wrongly by \(builder.next)")
    }

    /// Learnt numbers of a network, without laying out its table.
    static func count(_ configuration: DenseNetConfiguration) -> (learnt: Int, convolutions: Int) {
        let k = configuration.growthRate
        let taps = configuration.stem == .cifar ? 9 : 49
        var convolutions = configuration.stemChannels * 3 * taps
        var norms = configuration.stem == .cifar ? 0 : configuration.stemChannels
        for (b, layers) in configuration.blocks.enumerated() {
            for l in 0..<layers {
                let channels = configuration.blockInputs[b] + l * k
                convolutions += configuration.bottleneck ? channels * 4 * k + 36 * k * k : 9 * channels * k
                norms += channels + (configuration.bottleneck ? 4 * k : 0)
            }
            norms += configuration.blockChannels[b]
            if b < configuration.blocks.count - 1 {
                convolutions += configuration.blockChannels[b] * configuration.blockInputs[b + 1]
            }
        }
        let features = configuration.blockChannels.last ?? 0
        return (convolutions + 2 * norms + configuration.classes * (features + 1), convolutions)
    }

    /// Hands out places from the end of the buffer towards its front.
    private struct Builder {
        var next: Int
        var learnt: [Parameter] = []
        var statistics: [Parameter] = []
        var statisticsCount = 0

        mutating func add(_ name: String, _ shape: [Int], isWeight: Bool) -> Parameter {
            next -= shape.reduce(1, *)
            let parameter = Parameter(name: name, shape: shape, offset: next, isWeight: isWeight)
            learnt.append(parameter)
            return parameter
        }

        mutating func weight(_ name: String, _ shape: [Int]) -> Parameter {
            add("\(name).weight", shape, isWeight: true)
        }

        mutating func bias(_ name: String, _ shape: [Int]) -> Parameter { add("\(name).bias", shape, isWeight: false) }

        mutating func statistic(_ name: String, _ channels: Int) -> Parameter {
            let parameter = Parameter(name: name, shape: [channels], offset: statisticsCount, isWeight: false)
            statisticsCount += channels
            statistics.append(parameter)
            return parameter
        }

        mutating func norm(_ name: String, _ channels: Int) -> NormParameters {
            let weight = add("\(name).weight", [channels], isWeight: false)
            return NormParameters(
                weight: weight, bias: bias(name, [channels]), runningMean: statistic("\(name).running_mean", channels),
                runningVariance: statistic("\(name).running_var", channels))
        }
    }
}
