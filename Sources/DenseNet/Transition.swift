import Kernels

/// Between two blocks: norm, ReLU, 1×1 convolution to θ·m channels, 2×2 average pool (arXiv 1608.06993, section 3).
///
/// The pool goes first here: it and the convolution commute, and a quarter of the pixels is left to convolve. Dropout,
/// when on, acts on what the convolution puts out, as it does everywhere; so here it acts on the pooled values.
final class Transition {
    private let norm: FeatureNorm
    private let weight: Parameter
    private unowned let source: FeatureBlock
    private unowned let target: FeatureBlock
    private let state: NetworkState
    /// The pooled activation, kept until backward, which puts its gradient in the same place.
    private let pooled: Panels
    private let sums: ChannelSums
    private let closing: NormBackward
    private let dropout: Dropout
    private let places: GroupPlaces

    init(
        _ parameters: ParameterTable.Transition, from source: FeatureBlock, to target: FeatureBlock, images: Int,
        layer: Int, state: NetworkState
    ) {
        self.source = source
        self.target = target
        self.state = state
        weight = parameters.conv
        norm = FeatureNorm(parameters.norm, of: source, state: state)
        pooled = Panels(layout: target.layout, channels: norm.channels, images: images)
        let outputs = weight.shape[0]
        let workspace = state.workspace
        sums = ChannelSums(channels: outputs, in: workspace.sumSpace)
        closing = NormBackward(channels: outputs)
        dropout = Dropout(probability: state.configuration.dropout, layer: layer, stage: target.stage)
        places = GroupPlaces(source: source.stage, target: target.layout)
        workspace.needs.reserve(pointwise: weight, lanes: target.layout.lanes)
        workspace.needs.reserve(.lanes, source.layout.lanes)
        workspace.needs.reserve(.inputGradient, norm.channels * source.layout.lanes)
    }

    /// Writes the first channels of the next block and takes their statistics. Collective in training.
    func forward(_ pass: Pass) throws {
        norm.prepare(pass)
        // The pool writes live lanes alone. What an earlier batch left in the others meets gradients of zero, so it has
        // to be a number.
        for group in 0..<target.stage.groups where target.stage.mask(group) != nil { pooled.clear(group: group) }
        state.workspace.forEachChunk(of: source.stage) { groups, _, worker in
            worker.clock.enter(.pool)
            for group in groups {
                for y in 0..<target.layout.height {
                    places.averagePool(
                        source.values, norm.affine, group: group, y: y, into: pooled, scratch: worker.lanes.pointer)
                }
            }
        }
        convolve(pass)
        if pass.training { try target.setStatistics(ofChannelsFrom: 0, sums, pass) }
    }

    private func convolve(_ pass: Pass) {
        let workspace = state.workspace
        let lanes = target.layout.lanes
        let packed = PackedWeights(taps: 1, outputs: weight.shape[0], inputs: norm.channels, in: workspace.weights)
        packed.packForward(state.parameters.pointer + weight.offset)
        workspace.forEachChunk(of: target.stage) { groups, chunk, worker in
            let partial = sums.begin(chunk: chunk, worker: worker.index)
            for group in groups {
                dropout.begin(group: group, worker, pass)
                for y in 0..<target.layout.height {
                    let output = target.values.panel(group, y)
                    worker.clock.enter(.pointwise)
                    packed.convolve(
                        pooled.panel(group, y), stride: lanes, tapOffsets: workspace.noOffset.pointer, lanes: lanes,
                        into: output, outputStride: lanes, next: target.panelAfter(group, y, in: pooled),
                        nextCount: norm.channels * lanes)
                    worker.clock.enter(.norm)
                    dropout.apply(output, channels: packed.outputs, stride: lanes, row: y, worker, pass)
                    if pass.training { addSums(output, lanes: lanes, mask: target.stage.mask(group), to: partial) }
                }
                if pass.training { partial.flushValues() }
            }
        }
    }

    /// From the gradient of the next block's first channels to G of all channels of the block before, of which the
    /// transition is the first reader in backward's order. Collective.
    func backward(_ pass: Pass) throws {
        try target.closeGradient(ofChannelsFrom: 0, sums, into: closing, pass)
        backwardOfConvolution(pass)
        source.clearGradientSums()
        state.workspace.forEachChunk(of: source.stage) { groups, chunk, worker in
            let partial = norm.beginBackward(chunk: chunk, worker)
            let gradient = worker.inputGradient.pointer
            for group in groups {
                for y in 0..<source.layout.height {
                    // Two rows share the gradient of one pooled row; a last odd row or column was never pooled.
                    worker.clock.enter(.pool)
                    if y % 2 == 0 { places.averagePoolBackward(pooled, group: group, y: y / 2, into: gradient) }
                    worker.clock.enter(.norm)
                    norm.backwardPanel(gradient, group: group, row: y, accumulate: false, sums: partial)
                }
                partial.flushGradients()
            }
        }
        norm.endBackward()
    }

    private func backwardOfConvolution(_ pass: Pass) {
        guard let gradients = target.gradients else { preconditionFailure("backward of an evaluating network") }
        let workspace = state.workspace
        let lanes = target.layout.lanes
        let inputs = norm.channels
        let outputs = weight.shape[0]
        let width = outputs.roundedToVector
        let packed = PackedWeights(unpacked: state.parameters.pointer + weight.offset, outputs: inputs, inputs: outputs)
        workspace.forEachChunk(of: target.stage) { groups, chunk, worker in
            let weightGradient = workspace.weightGradient(chunk: chunk, count: inputs * width)
            let gradient = worker.gradient.pointer
            let transposed = worker.transposed.pointer
            for group in groups {
                dropout.begin(group: group, worker, pass)
                for y in 0..<target.layout.height {
                    let activation = pooled.panel(group, y)
                    worker.clock.enter(.norm)
                    closing.apply(
                        gradient: gradients.panel(group, y), values: target.values.panel(group, y), lanes: lanes,
                        mask: target.stage.mask(group), into: gradient, outputStride: lanes)
                    dropout.apply(gradient, channels: outputs, stride: lanes, row: y, worker, pass)
                    transposePanel(gradient, stride: lanes, channels: outputs, lanes: lanes, into: transposed)
                    worker.clock.enter(.pointwise)
                    addWeightGradient(
                        transposed: transposed, width: width, transposedRow: 0, other: activation, otherStride: lanes,
                        otherRow: 0, others: inputs, lanes: lanes, rows: 1, to: weightGradient)
                    packed.convolve(
                        gradient, stride: lanes, tapOffsets: workspace.noOffset.pointer, lanes: lanes, into: activation,
                        outputStride: lanes)
                }
            }
        }
        state.writePointwiseGradient(of: weight, width: width, target.stage)
    }
}
