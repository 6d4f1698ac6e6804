import Kernels

/// A layer of a dense block: reads all channels before it and appends k.
protocol DenseLayer: AnyObject {
    /// Collective in training.
    func forward(_ pass: PassContext) throws
    /// Computes the layer's gradients into the flat buffer. Collective.
    func backward(_ pass: PassContext) throws
    /// The outputs of its convolutions, in their order.
    var produced: [ProducedChannels] { get }
}

/// Norm, ReLU, 3×3 convolution (arXiv 1608.06993, section 3, "Composite function").
final class PlainLayer: DenseLayer {
    private let block: DenseBlock
    private let norm: SharedStatisticsNorm
    private let conv: GrowthConvolution
    private let features: ProducedChannels
    var produced: [ProducedChannels] { [features] }

    init(_ parameters: ParameterTable.Plain, of block: DenseBlock, number: Int, state: SharedNetworkState) {
        self.block = block
        norm = SharedStatisticsNorm(parameters.norm, of: block, state: state)
        conv = GrowthConvolution(parameters.conv, featureMap: block.featureMap, layer: number, state: state)
        features = block.produced(parameters.conv.shape[0], from: norm.channels)
        state.workspace.needs.reserve(
            .inputGradient, RowWinograd.rows * norm.channels * block.featureMap.layout.lanes)
    }

    func forward(_ pass: PassContext) throws {
        norm.prepare(pass)
        conv.forward(norm, into: features, pass)
        if pass.summingFeatures { try features.synchronize(pass) }
    }

    func backward(_ pass: PassContext) throws {
        try block.synchronizeGradient(of: features, pass)
        conv.backward(from: features, to: norm, pass)
        norm.finishBackward()
    }
}

/// Norm, ReLU, 1×1 convolution to 4k channels, norm, ReLU, 3×3 convolution: DenseNet-B's layer (section 3, "Bottleneck
/// layers").
final class BottleneckLayer: DenseLayer {
    private let block: DenseBlock
    private let norm1: SharedStatisticsNorm
    private let conv1: PointwiseConvolution
    private let bottleneck: ProducedChannels
    private let norm2: BatchNorm
    private let conv2: GrowthConvolution
    private let features: ProducedChannels
    var produced: [ProducedChannels] { [bottleneck, features] }

    /// - Parameters:
    ///   - number: the dropout number of the layer's first convolution.
    ///   - values: for the 1×1 convolution's output; must stay unchanged until backward.
    ///   - gradients: for its gradient; may be shared by the layers of a block.
    init(
        _ parameters: ParameterTable.Bottleneck, of block: DenseBlock, number: Int, values: Panels, gradients: Panels,
        state: SharedNetworkState
    ) {
        self.block = block
        let width = parameters.norm2.channels
        bottleneck = ProducedChannels(
            width, of: values, gradients: gradients, statistics: ChannelStatistics(channels: width),
            featureMap: block.featureMap, in: state.workspace.reductionScratch)
        norm1 = SharedStatisticsNorm(parameters.norm1, of: block, state: state)
        conv1 = PointwiseConvolution(
            parameters.conv1, featureMap: block.featureMap, layer: number, precision: state.precision, state: state)
        norm2 = BatchNorm(parameters.norm2, of: bottleneck, state: state)
        conv2 = GrowthConvolution(parameters.conv2, featureMap: block.featureMap, layer: number + 1, state: state)
        features = block.produced(parameters.conv2.shape[0], from: norm1.channels)
    }

    func forward(_ pass: PassContext) throws {
        norm1.prepare(pass)
        conv1.forward(norm1, into: bottleneck, pass)
        try norm2.prepare(pass)
        conv2.forward(norm2, into: features, pass)
        if pass.summingFeatures { try features.synchronize(pass) }
    }

    func backward(_ pass: PassContext) throws {
        try block.synchronizeGradient(of: features, pass)
        conv2.backward(from: features, to: norm2, pass)
        try norm2.finishBackward(pass)
        conv1.backward(from: bottleneck, to: norm1, pass)
        norm1.finishBackward()
    }
}
