import Kernels

/// Between two blocks: norm, ReLU, 1×1 convolution to θ·m channels, 2×2 average pool (arXiv 1608.06993, section 3).
///
/// The pool goes first here: it and the convolution commute, and a quarter of the pixels is left to convolve. Dropout,
/// when on, acts on the convolution's output, as everywhere; so here it acts on the pooled values.
final class Transition {
    private let target: DenseBlock
    private let norm: SharedStatisticsNorm
    private let pool: AveragePool
    private let conv: PointwiseConvolution
    private let features: ProducedChannels
    var produced: ProducedChannels { features }
    /// The pooled activation, kept until backward, which puts its gradient in the same place.
    let pooled: Panels

    /// - Parameter number: of its convolution.
    init(
        _ parameters: ParameterTable.Transition, from source: DenseBlock, to target: DenseBlock, images: Int,
        number: Int, state: NetworkState
    ) {
        self.target = target
        norm = SharedStatisticsNorm(parameters.norm, of: source, state: state)
        pooled = Panels(layout: target.featureMap.layout, channels: norm.channels, images: images)
        pool = AveragePool(source: source.featureMap, target: target.featureMap, state: state)
        conv = PointwiseConvolution(parameters.conv, featureMap: target.featureMap, layer: number, state: state)
        features = target.produced(parameters.conv.shape[0], from: 0)
    }

    /// Writes the first channels of the next block. Collective in training.
    func forward(_ pass: PassContext) throws {
        norm.prepare(pass)
        pool.forward(norm, into: pooled)
        conv.forward(PlainInput(panels: pooled, featureMap: target.featureMap), into: features, pass)
        if pass.training { try features.synchronize(pass) }
    }

    /// Sets G of all channels of the block before: the transition is the first consumer that backward reaches.
    /// Collective.
    func backward(_ pass: PassContext) throws {
        try target.synchronizeGradient(of: features, pass)
        conv.backward(from: features, to: PlainInput(panels: pooled, featureMap: target.featureMap), pass)
        pool.backward(pooled, to: norm)
        norm.finishBackward()
    }
}
