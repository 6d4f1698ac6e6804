import Kernels

/// Between two blocks: norm, ReLU, 1×1 convolution to θ·m channels, 2×2 average pool (arXiv 1608.06993, section 3).
///
/// Here the pool comes before the convolution: the two commute, and only a quarter of the pixels is left to convolve.
/// Dropout acts on the convolution's output, so after the pool.
final class Transition {
    private let target: DenseBlock
    private let norm: SharedStatisticsNorm
    private let pool: AveragePool
    private let conv: PointwiseConvolution
    private let features: ProducedChannels
    var produced: ProducedChannels { features }
    /// The pooled activation, kept until backward overwrites it with its gradient.
    let pooled: Panels

    /// - Parameter number: the convolution's index for dropout.
    init(
        _ parameters: ParameterTable.Transition, from source: DenseBlock, to target: DenseBlock, images: Int,
        number: Int, state: SharedNetworkState
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
        if pass.summingFeatures { try features.synchronize(pass) }
    }

    /// Sets G of the preceding block, of which the transition is the first consumer that backward reaches. Collective.
    func backward(_ pass: PassContext) throws {
        try target.synchronizeGradient(of: features, pass)
        conv.backward(from: features, to: PlainInput(panels: pooled, featureMap: target.featureMap), pass)
        pool.backward(pooled, to: norm)
        norm.finishBackward()
    }
}
