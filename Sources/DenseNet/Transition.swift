import Kernels

/// Between two blocks: norm, ReLU, 1×1 convolution to θ·m channels, 2×2 average pool (arXiv 1608.06993, section 3).
///
/// The pool goes first here: it and the convolution commute, and a quarter of the pixels is left to convolve. Dropout, when on, acts on
/// what the convolution puts out, as it does everywhere; so here it acts on the pooled values.
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
        _ parameters: ParameterTable.Transition, from source: FeatureBlock, to target: FeatureBlock, images: Int, layer: Int,
        state: NetworkState
    ) {
        self.source = source
        self.target = target
        self.state = state
        weight = parameters.conv
        norm = FeatureNorm(parameters.norm, of: source, state: state)
        pooled = Panels(layout: target.layout, channels: norm.channels, images: images)
        let outputs = weight.shape[0], workspace = state.workspace
        sums = ChannelSums(channels: outputs)
        closing = NormBackward(channels: outputs)
        dropout = Dropout(probability: state.configuration.dropout, layer: layer, stage: target.stage, workspace: workspace)
        places = GroupPlaces(source: source.stage, target: target.layout)
        workspace.reserve(.lanes, max(source.layout.lanes, target.layout.lanes))
        workspace.reserve(.inputGradient, norm.channels * source.layout.lanes)
        workspace.reserve(.gradient, outputs * target.layout.lanes)
        workspace.reserve(.transposed, target.layout.lanes * outputs.roundedToVector)
        workspace.reserve(.weights, norm.channels * outputs)
        workspace.reserve(.weightGradient, norm.channels * outputs.roundedToVector)
    }

    /// Writes the first channels of the next block and takes their statistics. Collective in training.
    func forward(_ pass: Pass) throws {
        norm.prepare(pass)
        for group in 0..<source.stage.groups {
            for y in 0..<target.layout.height {
                places.averagePool(
                    source.values, norm.affine, group: group, y: y, into: pooled, scratch: state.workspace[.lanes].pointer)
            }
        }
        let lanes = target.layout.lanes
        let packed = PackedWeights(taps: 1, outputs: weight.shape[0], inputs: norm.channels, in: state.workspace[.weights])
        packed.packForward(state.parameters.pointer + weight.offset)
        sums.clear()
        for group in 0..<target.stage.groups {
            dropout.begin(group: group, pass)
            for y in 0..<target.layout.height {
                let output = target.values.panel(group, y)
                packed.convolve(
                    pooled.panel(group, y), stride: lanes, tapOffsets: state.workspace.noOffset.pointer, lanes: lanes, into: output,
                    outputStride: lanes, next: target.panelAfter(group, y, in: pooled), nextCount: norm.channels * lanes)
                dropout.apply(output, channels: packed.outputs, stride: lanes, row: y, pass)
                if pass.training { addSums(output, lanes: lanes, mask: target.stage.mask(group), to: sums) }
            }
            sums.flush()
        }
        if pass.training { try target.setStatistics(ofChannelsFrom: 0, sums, pass) }
    }

    /// From the gradient of the next block's first channels to G of all channels of the block before, of which the transition is the
    /// first reader in backward's order. Collective.
    func backward(_ pass: Pass) throws {
        try target.closeGradient(ofChannelsFrom: 0, sums, into: closing, pass)
        backwardOfConvolution(pass)
        source.clearGradientSums()
        norm.beginBackward()
        let gradient = state.workspace[.inputGradient].pointer
        for group in 0..<source.stage.groups {
            for y in 0..<source.layout.height {
                // Two rows share the gradient of one pooled row; a last odd row or column was never pooled.
                if y % 2 == 0 { places.averagePoolBackward(pooled, group: group, y: y / 2, into: gradient) }
                norm.backwardPanel(gradient, group: group, row: y, accumulate: false)
            }
            norm.flushBackward()
        }
        norm.endBackward()
    }

    private func backwardOfConvolution(_ pass: Pass) {
        guard let gradients = target.gradients else { preconditionFailure("backward of an evaluating network") }
        let workspace = state.workspace, lanes = target.layout.lanes
        let inputs = norm.channels, outputs = weight.shape[0], width = outputs.roundedToVector
        let gradient = workspace[.gradient].pointer, transposed = workspace[.transposed].pointer
        let packed = PackedWeights(taps: 1, outputs: inputs, inputs: outputs, in: workspace[.weights])
        packed.packBackward(state.parameters.pointer + weight.offset)
        workspace[.weightGradient][0..<inputs * width].update(repeating: 0)
        for group in 0..<target.stage.groups {
            dropout.begin(group: group, pass)
            for y in 0..<target.layout.height {
                let activation = pooled.panel(group, y)
                closing.apply(
                    gradient: gradients.panel(group, y), values: target.values.panel(group, y), lanes: lanes,
                    mask: target.stage.mask(group), into: gradient, outputStride: lanes)
                dropout.apply(gradient, channels: outputs, stride: lanes, row: y, pass)
                transposePanel(gradient, stride: lanes, channels: outputs, lanes: lanes, into: transposed)
                addWeightGradient(
                    transposed: transposed, width: width, transposedRow: 0, other: activation, otherStride: lanes, otherRow: 0,
                    others: inputs, lanes: lanes, rows: 1, to: workspace[.weightGradient].pointer)
                packed.convolve(
                    gradient, stride: lanes, tapOffsets: workspace.noOffset.pointer, lanes: lanes, into: activation, outputStride: lanes)
            }
        }
        state.writePointwiseGradient(of: weight, width: width)
    }
}
