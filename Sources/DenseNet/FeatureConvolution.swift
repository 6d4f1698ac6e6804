import Kernels

/// A 3×3 convolution that appends a dense layer's k new channels to its block: forward and backward, a group of images at a time.
final class FeatureConvolution {
    private let weight: Parameter
    private let inputs: Int
    private let first: Int
    private let growth: Int
    private unowned let block: FeatureBlock
    private let state: NetworkState
    private let dropout: Dropout
    private let sums: ChannelSums
    private let closing: NormBackward
    private var layout: PanelLayout { block.layout }
    /// Rows of the transposed activation.
    private var width: Int { inputs.roundedToVector }

    init(_ weight: Parameter, to block: FeatureBlock, from first: Int, layer: Int, state: NetworkState) {
        self.weight = weight
        self.block = block
        self.first = first
        self.state = state
        growth = weight.shape[0]
        inputs = weight.shape[1]
        dropout = Dropout(probability: state.configuration.dropout, layer: layer, stage: block.stage, workspace: state.workspace)
        sums = ChannelSums(channels: growth)
        closing = NormBackward(channels: growth)
        let workspace = state.workspace, layout = block.layout
        workspace.reserve(.padded, PaddedGroup.count(channels: inputs, layout: layout))
        workspace.reserve(.paddedGradient, PaddedGroup.count(channels: growth, layout: layout))
        workspace.reserve(.weights, 9 * growth * inputs)
        workspace.reserve(.weightGradient, 9 * growth * inputs.roundedToVector)
        workspace.reserve(.transposed, layout.height * layout.lanes * inputs.roundedToVector)
        workspace.reserve(.activation, inputs * layout.lanes)
        workspace.reserve(.lanes, layout.lanes)
    }

    /// New channels = convolution of max(0, affine(input)), and their statistics. Collective in training.
    func forward(_ input: Panels, _ affine: ChannelAffine, _ pass: Pass) throws {
        let workspace = state.workspace, lanes = layout.lanes
        let packed = PackedWeights(taps: 9, outputs: growth, inputs: inputs, in: workspace[.weights])
        let padded = PaddedGroup(channels: inputs, layout: layout, in: workspace[.padded])
        packed.packForward(state.parameters.pointer + weight.offset)
        padded.clear()
        padded.writeTapOffsets(to: workspace.tapOffsets.pointer)
        sums.clear()
        for group in 0..<block.stage.groups {
            for y in 0..<layout.height {
                affine.reluPanel(
                    input.panel(group, y), lanes: lanes, live: layout.liveLanes, into: padded.interior(y), outputStride: padded.stride)
            }
            dropout.begin(group: group, pass)
            let mask = block.stage.mask(group)
            for y in 0..<layout.height {
                let new = block.values.panel(group, y) + first * lanes
                let next = group + 1 < block.stage.groups ? UnsafePointer(input.panel(group + 1, y)) : nil
                packed.convolve(
                    padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: workspace.tapOffsets.pointer, lanes: lanes,
                    into: new, outputStride: lanes, next: next, nextCount: inputs * lanes)
                dropout.apply(new, channels: growth, stride: lanes, row: y, pass)
                if pass.training { addSums(new, lanes: lanes, mask: mask, to: sums) }
            }
            sums.flush()
        }
        if pass.training { try block.setStatistics(ofChannelsFrom: first, sums, pass) }
    }

    /// All readers of the new channels have added their gradients: closes them and prepares the products. Collective.
    func beginBackward(_ pass: Pass) throws {
        try block.closeGradient(ofChannelsFrom: first, sums, into: closing, pass)
        let workspace = state.workspace
        backwardWeights.packBackward(state.parameters.pointer + weight.offset)
        paddedGradient.clear()
        paddedGradient.writeTapOffsets(to: workspace.tapOffsets.pointer)
        workspace[.weightGradient][0..<9 * growth * width].update(repeating: 0)
    }

    private var backwardWeights: PackedWeights {
        PackedWeights(taps: 9, outputs: inputs, inputs: growth, in: state.workspace[.weights])
    }
    private var paddedGradient: PaddedGroup { PaddedGroup(channels: growth, layout: layout, in: state.workspace[.paddedGradient]) }

    /// Writes the gradient of a group's new channels where the products of backward read it.
    func beginBackward(group: Int, _ pass: Pass) {
        guard let gradients = block.gradients else { preconditionFailure("backward of an evaluating network") }
        let padded = paddedGradient, lanes = layout.lanes
        dropout.begin(group: group, pass)
        for y in 0..<layout.height {
            closing.apply(
                gradient: gradients.panel(group, y) + first * lanes, values: block.values.panel(group, y) + first * lanes, lanes: lanes,
                mask: block.stage.mask(group), into: padded.interior(y), outputStride: padded.stride)
            dropout.apply(padded.interior(y), channels: growth, stride: padded.stride, row: y, pass)
        }
    }

    /// The gradient of row `y` of the activated input: shape [inputs][lanes].
    func inputGradient(row y: Int, into output: UnsafeMutablePointer<Float>, next: UnsafePointer<Float>?) {
        let padded = paddedGradient
        backwardWeights.convolve(
            padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: state.workspace.tapOffsets.pointer, lanes: layout.lanes,
            into: output, outputStride: layout.lanes, next: next, nextCount: inputs * layout.lanes)
    }

    /// Adds a group's part of the weights' gradient; the activated input is made once more, transposed.
    func addWeightGradient(group: Int, _ input: Panels, _ affine: ChannelAffine) {
        let workspace = state.workspace, padded = paddedGradient, lanes = layout.lanes, width = width
        let activation = workspace[.activation].pointer, transposed = workspace[.transposed].pointer
        for y in 0..<layout.height {
            affine.reluPanel(input.panel(group, y), lanes: lanes, live: layout.liveLanes, into: activation, outputStride: lanes)
            transposePanel(activation, stride: lanes, channels: inputs, lanes: lanes, into: transposed + y * lanes * width)
        }
        for tap in 0..<9 {
            // The pixel that a weight's tap (y, x) read is the output's, moved the other way.
            Kernels.addWeightGradient(
                transposed: transposed, width: width, transposedRow: lanes * width, other: padded.tap(2 - tap / 3, 2 - tap % 3, row: 0),
                otherStride: padded.stride, otherRow: padded.rowStride, others: growth, lanes: lanes, rows: layout.height,
                to: workspace[.weightGradient].pointer + tap * growth * width)
        }
    }

    /// Writes this rank's gradient of the weights into the flat buffer.
    func endBackward() {
        let from = state.workspace[.weightGradient].pointer, to = state.gradients.pointer + weight.offset
        for tap in 0..<9 {
            for output in 0..<growth {
                let row = from + (tap * growth + output) * width
                for input in 0..<inputs { to[(output * inputs + input) * 9 + tap] = row[input] }
            }
        }
    }
}
