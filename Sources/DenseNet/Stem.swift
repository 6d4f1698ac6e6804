import Kernels

/// The convolution that makes the first features of an image, from patches of its rows.
final class StemConvolution {
    private let weight: Parameter
    private let stage: Stage
    private let kernel: Int
    private let stride: Int
    private let image: Int
    private let state: NetworkState
    private var inputs: Int { 3 * kernel * kernel }
    private var outputs: Int { weight.shape[0] }

    init(_ weight: Parameter, stage: Stage, stride: Int, state: NetworkState) {
        self.weight = weight
        self.stage = stage
        self.stride = stride
        self.state = state
        kernel = weight.shape[2]
        image = state.configuration.image
        let workspace = state.workspace
        let lanes = stage.layout.lanes
        workspace.needs.reserve(pointwise: weight, lanes: lanes)
        workspace.needs.reserve(.activation, inputs * lanes)
    }

    private func patches(_ images: UnsafePointer<Float>, group: Int, y: Int, _ worker: WorkerSpace) -> UnsafePointer<
        Float
    > {
        let patches = worker.activation.pointer
        writePatches(
            of: images + group * stage.layout.interleave * 3 * image * image, count: stage.images(in: group),
            channels: 3, size: image, kernel: kernel, stride: stride, y: y, layout: stage.layout, into: patches)
        return UnsafePointer(patches)
    }

    /// Writes the first channels of `output` for images of shape [count][3][size][size] and gathers their sums and
    /// squares.
    func forward(_ images: UnsafePointer<Float>, into output: Panels, sums: ChannelSums, _ pass: Pass) {
        let workspace = state.workspace
        let lanes = stage.layout.lanes
        // The patches' rows are taken as taps, so that no sum is longer than one of them: nothing else loses more
        // digits.
        let packed = PackedWeights(taps: 3 * kernel, outputs: outputs, inputs: kernel, in: workspace.weights)
        packed.packPatches(state.parameters.pointer + weight.offset)
        for row in 0..<3 * kernel { workspace.tapOffsets.pointer[row] = row * kernel * lanes }
        workspace.forEachChunk(of: stage) { groups, chunk, worker in
            worker.clock.enter(.stem)
            let partial = sums.begin(chunk: chunk, worker: worker.index)
            for group in groups {
                for y in 0..<stage.layout.height {
                    let panel = output.panel(group, y)
                    packed.convolve(
                        patches(images, group: group, y: y, worker), stride: lanes,
                        tapOffsets: workspace.tapOffsets.pointer, lanes: lanes, into: panel, outputStride: lanes)
                    if pass.training { addSums(panel, lanes: lanes, mask: stage.mask(group), to: partial) }
                }
                if pass.training { partial.flushValues() }
            }
        }
    }

    /// The gradient of the weights, from that of the output, which `closing` makes of two panels.
    func backward(_ images: UnsafePointer<Float>, gradients: Panels, values: Panels, _ closing: NormBackward) {
        let workspace = state.workspace
        let lanes = stage.layout.lanes
        let width = outputs.roundedToVector
        workspace.forEachChunk(of: stage) { groups, chunk, worker in
            worker.clock.enter(.stem)
            let weightGradient = workspace.weightGradient(chunk: chunk, count: inputs * width)
            let gradient = worker.gradient.pointer
            let transposed = worker.transposed.pointer
            for group in groups {
                for y in 0..<stage.layout.height {
                    closing.apply(
                        gradient: gradients.panel(group, y), values: values.panel(group, y), lanes: lanes,
                        mask: stage.mask(group), into: gradient, outputStride: lanes)
                    transposePanel(gradient, stride: lanes, channels: outputs, lanes: lanes, into: transposed)
                    addWeightGradient(
                        transposed: transposed, width: width, transposedRow: 0,
                        other: patches(images, group: group, y: y, worker), otherStride: lanes, otherRow: 0,
                        others: inputs, lanes: lanes, rows: 1, to: weightGradient)
                }
            }
        }
        state.writePointwiseGradient(of: weight, width: width, stage)
    }
}

/// What stands before the first block.
protocol Stem: AnyObject {
    /// Writes the first channels of the first block and takes their statistics. Collective in training.
    func forward(_ images: UnsafePointer<Float>, _ pass: Pass) throws
    /// Collective.
    func backward(_ images: UnsafePointer<Float>, _ pass: Pass) throws
    /// Of the convolution's output, where it is not the block's first features.
    var ownStatistics: ChannelStatistics? { get }
}

/// 3×3 convolution, stride 1: straight into the first block.
final class CIFARStem: Stem {
    let ownStatistics: ChannelStatistics? = nil
    private let convolution: StemConvolution
    private let sums: ChannelSums
    private let closing: NormBackward
    private unowned let block: FeatureBlock

    init(_ table: ParameterTable, to block: FeatureBlock, state: NetworkState) {
        self.block = block
        convolution = StemConvolution(table.stemConvolution, stage: block.stage, stride: 1, state: state)
        sums = ChannelSums(channels: table.stemConvolution.shape[0], in: state.workspace.sumSpace)
        closing = NormBackward(channels: table.stemConvolution.shape[0])
    }

    func forward(_ images: UnsafePointer<Float>, _ pass: Pass) throws {
        convolution.forward(images, into: block.values, sums: sums, pass)
        if pass.training { try block.setStatistics(ofChannelsFrom: 0, sums, pass) }
    }

    func backward(_ images: UnsafePointer<Float>, _ pass: Pass) throws {
        guard let gradients = block.gradients else { preconditionFailure("backward of an evaluating network") }
        try block.closeGradient(ofChannelsFrom: 0, sums, into: closing, pass)
        convolution.backward(images, gradients: gradients, values: block.values, closing)
    }
}

/// 7×7 convolution, stride 2, norm, ReLU, 3×3 max-pool, stride 2.
final class ImageNetStem: Stem {
    private let convolution: StemConvolution
    private let norm: OwnNorm
    private let pool: MaxPool
    private let stage: Stage
    private let output: Panels
    private let outputGradient: Panels?
    private let sums: ChannelSums
    private let closing: NormBackward
    private unowned let block: FeatureBlock
    private let state: NetworkState
    var ownStatistics: ChannelStatistics? { norm.statistics }

    init(
        _ table: ParameterTable, stage: Stage, to block: FeatureBlock, images: Int, training: Bool, state: NetworkState
    ) {
        guard let parameters = table.stemNorm else { preconditionFailure("an ImageNet stem without norm") }
        self.stage = stage
        self.block = block
        self.state = state
        convolution = StemConvolution(table.stemConvolution, stage: stage, stride: 2, state: state)
        norm = OwnNorm(parameters, state: state)
        pool = MaxPool(source: stage, target: block.layout)
        output = Panels(layout: stage.layout, channels: norm.channels, images: images)
        outputGradient = training ? Panels(layout: stage.layout, channels: norm.channels, images: images) : nil
        sums = ChannelSums(channels: norm.channels, in: state.workspace.sumSpace)
        closing = NormBackward(channels: norm.channels)
        state.workspace.needs.reserve(.gradient, norm.channels * block.layout.lanes)
    }

    private func pixels(_ pass: Pass) -> Double { Double(pass.globalCount * stage.layout.height * stage.layout.width) }

    func forward(_ images: UnsafePointer<Float>, _ pass: Pass) throws {
        convolution.forward(images, into: output, sums: norm.sums, pass)
        try norm.prepare(pixels: pixels(pass), chunks: stage.chunks.count, pass)
        state.workspace.forEachChunk(of: stage) { groups, _, worker in
            worker.clock.enter(.stem)
            for group in groups {
                for y in 0..<block.layout.height {
                    pool.forward(output, norm.affine, group: group, y: y, into: block.values)
                }
            }
        }
        guard pass.training else { return }
        state.workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let partial = sums.begin(chunk: chunk, worker: worker.index)
            for group in groups {
                for y in 0..<block.layout.height {
                    addSums(
                        block.values.panel(group, y), lanes: block.layout.lanes, mask: block.stage.mask(group),
                        to: partial)
                }
                partial.flushValues()
            }
        }
        try block.setStatistics(ofChannelsFrom: 0, sums, pass)
    }

    func backward(_ images: UnsafePointer<Float>, _ pass: Pass) throws {
        guard let outputGradient else { preconditionFailure("backward of an evaluating network") }
        try block.closeGradient(ofChannelsFrom: 0, sums, into: closing, pass)
        backwardOfPool(into: outputGradient)
        state.workspace.forEachChunk(of: stage) { groups, chunk, worker in
            let partial = norm.sums.begin(chunk: chunk, worker: worker.index)
            for group in groups {
                for y in 0..<stage.layout.height {
                    norm.backwardPanel(
                        outputGradient.panel(group, y), values: output.panel(group, y), lanes: stage.layout.lanes,
                        mask: stage.mask(group), sums: partial)
                }
                partial.flushGradients()
            }
        }
        try norm.closeBackward(pixels: pixels(pass), chunks: stage.chunks.count, pass)
        convolution.backward(images, gradients: outputGradient, values: output, norm.backward)
    }

    private func backwardOfPool(into outputGradient: Panels) {
        guard let gradients = block.gradients else { preconditionFailure("backward of an evaluating network") }
        outputGradient.clear()
        state.workspace.forEachChunk(of: block.stage) { groups, _, worker in
            worker.clock.enter(.stem)
            let gradient = worker.gradient.pointer
            for group in groups {
                for y in 0..<block.layout.height {
                    closing.apply(
                        gradient: gradients.panel(group, y), values: block.values.panel(group, y),
                        lanes: block.layout.lanes, mask: block.stage.mask(group), into: gradient,
                        outputStride: block.layout.lanes)
                    pool.backward(gradient, targetGroup: group, y: y, output, norm.affine, into: outputGradient)
                }
            }
        }
    }
}
