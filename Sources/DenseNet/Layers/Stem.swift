import Kernels

/// The layers before the first block.
protocol Stem: AnyObject {
    /// Writes the first channels of the first block. Collective in training.
    ///
    /// - Parameter images: shape [count][channels][size][size].
    func forward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws
    /// Collective.
    func backward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws
    /// The output of its convolution and that of its pool, if it has one.
    var produced: [ProducedChannels] { get }
}

/// 3×3 convolution (arXiv 1608.06993, section 3, "Implementation Details", where its stride is 1).
final class CIFARStem: Stem {
    private let block: DenseBlock
    private let conv: PointwiseConvolution
    private let features: ProducedChannels
    private let imageChannels: Int
    private let size: Int
    private let stride: Int
    var produced: [ProducedChannels] { [features] }

    init(_ table: ParameterTable, to block: DenseBlock, state: SharedNetworkState) {
        self.block = block
        imageChannels = state.configuration.imageChannels
        size = state.configuration.image
        stride = state.configuration.stemStride
        conv = PointwiseConvolution(table.stemConvolution, featureMap: block.featureMap, layer: nil, state: state)
        features = block.produced(table.stemConvolution.shape[0], from: 0)
        state.workspace.needs.reserve(.columns, patchScratchCount(block.featureMap.layout, kernel: 3))
    }

    private func patches(_ images: UnsafePointer<Float>) -> ImagePatches {
        ImagePatches(
            images: images, imageChannels: imageChannels, size: size, kernel: 3, stride: stride,
            featureMap: block.featureMap)
    }

    func forward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws {
        conv.forward(patches(images), into: features, pass)
        if pass.summingFeatures { try features.synchronize(pass) }
    }

    func backward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws {
        try block.synchronizeGradient(of: features, pass)
        conv.backward(from: features, to: patches(images), pass)
    }
}

/// 7×7 convolution with stride 2, norm, ReLU, 3×3 max pool with stride 2 (table 1).
final class ImageNetStem: Stem {
    private let block: DenseBlock
    private let conv: PointwiseConvolution
    private let output: ProducedChannels
    private let norm: BatchNorm
    private let pool: MaxPool
    private let features: ProducedChannels
    private let imageChannels: Int
    private let size: Int
    var produced: [ProducedChannels] { [output, features] }

    /// - Parameter featureMap: that of the convolution's output.
    init(
        _ table: ParameterTable, norm parameters: NormParameters, featureMap: FeatureMap, to block: DenseBlock,
        images: Int,
        training: Bool, state: SharedNetworkState
    ) {
        self.block = block
        imageChannels = state.configuration.imageChannels
        size = state.configuration.image
        let channels = parameters.channels
        func panels(_ images: Int) -> Panels { Panels(layout: featureMap.layout, channels: channels, images: images) }
        conv = PointwiseConvolution(table.stemConvolution, featureMap: featureMap, layer: nil, state: state)
        output = ProducedChannels(
            channels, of: panels(images), gradients: panels(training ? images : 0),
            statistics: ChannelStatistics(channels: channels), featureMap: featureMap,
            in: state.workspace.reductionScratch)
        norm = BatchNorm(parameters, of: output, state: state)
        pool = MaxPool(source: featureMap, target: block.featureMap, channels: channels, state: state)
        features = block.produced(channels, from: 0)
        state.workspace.needs.reserve(.columns, patchScratchCount(featureMap.layout, kernel: 7))
    }

    private func patches(_ images: UnsafePointer<Float>) -> ImagePatches {
        ImagePatches(
            images: images, imageChannels: imageChannels, size: size, kernel: 7, stride: 2,
            featureMap: output.featureMap)
    }

    func forward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws {
        conv.forward(patches(images), into: output, pass)
        try norm.prepare(pass)
        pool.forward(norm, into: features, pass)
        if pass.summingFeatures { try features.synchronize(pass) }
    }

    func backward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws {
        try block.synchronizeGradient(of: features, pass)
        pool.backward(from: features, to: norm)
        try norm.finishBackward(pass)
        conv.backward(from: output, to: patches(images), pass)
    }
}
