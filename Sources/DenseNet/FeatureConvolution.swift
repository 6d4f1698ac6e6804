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
    private let inputShape: PaddedGroup.Shape
    private let outputShape: PaddedGroup.Shape
    private var layout: PanelLayout { block.layout }
    /// Rows of the transposed activation.
    private var width: Int { inputs.roundedToVector }
    private var gradientCount: Int { 9 * growth * width }

    init(_ weight: Parameter, to block: FeatureBlock, from first: Int, layer: Int, state: NetworkState) {
        self.weight = weight
        self.block = block
        self.first = first
        self.state = state
        growth = weight.shape[0]
        inputs = weight.shape[1]
        dropout = Dropout(probability: state.configuration.dropout, layer: layer, stage: block.stage)
        sums = ChannelSums(channels: growth, in: state.workspace.sumSpace)
        closing = NormBackward(channels: growth)
        inputShape = PaddedGroup.Shape(channels: inputs, layout: block.layout)
        outputShape = PaddedGroup.Shape(channels: growth, layout: block.layout)
        state.workspace.needs.reserve(spatial: weight, layout: block.layout)
    }

    /// New channels = convolution of max(0, affine(input)), and their statistics. Collective in training.
    func forward(_ input: Panels, _ affine: ChannelAffine, _ pass: Pass) throws {
        let workspace = state.workspace
        let packed = PackedWeights(taps: 9, outputs: growth, inputs: inputs, in: workspace.weights)
        packed.packForward(state.parameters.pointer + weight.offset)
        inputShape.writeTapOffsets(to: workspace.tapOffsets.pointer)
        workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let partial = sums.begin(chunk: chunk, worker: worker.index)
            for group in groups { forward(group, input, affine, packed, partial, worker, pass) }
        }
        if pass.training { try block.setStatistics(ofChannelsFrom: first, sums, pass) }
    }

    private func forward(
        _ group: Int, _ input: Panels, _ affine: ChannelAffine, _ packed: PackedWeights, _ partial: PartialSums, _ worker: WorkerSpace,
        _ pass: Pass
    ) {
        let lanes = layout.lanes, padded = worker.paddedGroup(inputShape), mask = block.stage.mask(group)
        worker.clock.enter(.norm)
        for y in 0..<layout.height {
            affine.reluPanel(
                input.panel(group, y), lanes: lanes, live: layout.liveLanes, into: padded.interior(y), outputStride: padded.stride)
        }
        dropout.begin(group: group, worker, pass)
        for y in 0..<layout.height {
            let new = block.values.panel(group, y) + first * lanes
            let next = group + 1 < block.stage.groups ? UnsafePointer(input.panel(group + 1, y)) : nil
            worker.clock.enter(.spatial)
            packed.convolve(
                padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: state.workspace.tapOffsets.pointer, lanes: lanes,
                into: new, outputStride: lanes, next: next, nextCount: inputs * lanes)
            worker.clock.enter(.norm)
            dropout.apply(new, channels: growth, stride: lanes, row: y, worker, pass)
            if pass.training { addSums(new, lanes: lanes, mask: mask, to: partial) }
        }
        if pass.training { partial.flushValues() }
    }

    /// All readers of the new channels have added their gradients: closes them and prepares the products. Collective.
    func beginBackward(_ pass: Pass) throws {
        try block.closeGradient(ofChannelsFrom: first, sums, into: closing, pass)
        backwardWeights.packBackward(state.parameters.pointer + weight.offset)
        outputShape.writeTapOffsets(to: state.workspace.tapOffsets.pointer)
    }

    private var backwardWeights: PackedWeights {
        PackedWeights(taps: 9, outputs: inputs, inputs: growth, in: state.workspace.weights)
    }

    /// A task's empty gradient of the weights.
    func weightGradient(chunk: Int) -> UnsafeMutablePointer<Float> {
        state.workspace.weightGradient(chunk: chunk, count: gradientCount)
    }

    /// Writes the gradient of a group's new channels where the products of backward read it.
    func beginBackward(group: Int, _ worker: WorkerSpace, _ pass: Pass) -> PaddedGroup {
        guard let gradients = block.gradients else { preconditionFailure("backward of an evaluating network") }
        let padded = worker.paddedGradientGroup(outputShape), lanes = layout.lanes
        worker.clock.enter(.norm)
        dropout.begin(group: group, worker, pass)
        for y in 0..<layout.height {
            closing.apply(
                gradient: gradients.panel(group, y) + first * lanes, values: block.values.panel(group, y) + first * lanes, lanes: lanes,
                mask: block.stage.mask(group), into: padded.interior(y), outputStride: padded.stride)
            dropout.apply(padded.interior(y), channels: growth, stride: padded.stride, row: y, worker, pass)
        }
        return padded
    }

    /// The gradient of row `y` of the activated input: shape [inputs][lanes].
    func inputGradient(
        _ padded: PaddedGroup, row y: Int, into output: UnsafeMutablePointer<Float>, next: UnsafePointer<Float>?, _ worker: WorkerSpace
    ) {
        worker.clock.enter(.spatial)
        backwardWeights.convolve(
            padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: state.workspace.tapOffsets.pointer, lanes: layout.lanes,
            into: output, outputStride: layout.lanes, next: next, nextCount: inputs * layout.lanes)
        worker.clock.enter(.norm)
    }

    /// Adds a group's part of the weights' gradient; the activated input is made once more, transposed.
    func addWeightGradient(
        _ padded: PaddedGroup, group: Int, _ input: Panels, _ affine: ChannelAffine, to gradient: UnsafeMutablePointer<Float>,
        _ worker: WorkerSpace
    ) {
        let lanes = layout.lanes, width = width
        let activation = worker.activation.pointer, transposed = worker.transposed.pointer
        worker.clock.enter(.norm)
        for y in 0..<layout.height {
            affine.reluPanel(input.panel(group, y), lanes: lanes, live: layout.liveLanes, into: activation, outputStride: lanes)
            transposePanel(activation, stride: lanes, channels: inputs, lanes: lanes, into: transposed + y * lanes * width)
        }
        worker.clock.enter(.spatial)
        for tap in 0..<9 {
            // The pixel that a weight's tap (y, x) read is the output's, moved the other way.
            Kernels.addWeightGradient(
                transposed: transposed, width: width, transposedRow: lanes * width, other: padded.tap(2 - tap / 3, 2 - tap % 3, row: 0),
                otherStride: padded.stride, otherRow: padded.rowStride, others: growth, lanes: lanes, rows: layout.height,
                to: gradient + tap * growth * width)
        }
    }

    /// Writes this rank's gradient of the weights into the flat buffer.
    func endBackward() {
        let from = state.workspace.sumOfWeightGradients(block.stage, count: gradientCount)
        let to = state.gradients.pointer + weight.offset
        for tap in 0..<9 {
            for output in 0..<growth {
                let row = from + (tap * growth + output) * width
                for input in 0..<inputs { to[(output * inputs + input) * 9 + tap] = row[input] }
            }
        }
    }
}
