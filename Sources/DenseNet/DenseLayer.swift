import Kernels

/// One layer of a dense block: reads all channels before it, appends k.
protocol DenseLayer: AnyObject {
    /// Collective in training.
    func forward(_ pass: Pass) throws
    /// Collective. Afterwards all of the layer's gradients are in the flat buffer.
    func backward(_ pass: Pass) throws
}

/// Norm, ReLU, 3×3 convolution: a layer without bottleneck.
final class PlainLayer: DenseLayer {
    private let norm: FeatureNorm
    private let convolution: FeatureConvolution
    private unowned let block: FeatureBlock
    private let state: NetworkState

    init(_ parameters: ParameterTable.DenseLayer, in block: FeatureBlock, layer: Int, state: NetworkState) {
        self.block = block
        self.state = state
        norm = FeatureNorm(parameters.norm1, of: block, state: state)
        convolution = FeatureConvolution(parameters.conv1, to: block, from: norm.channels, layer: layer, state: state)
        state.workspace.reserve(.gradient, norm.channels * block.layout.lanes)
    }

    func forward(_ pass: Pass) throws {
        norm.prepare(pass)
        try convolution.forward(block.values, norm.affine, pass)
    }

    func backward(_ pass: Pass) throws {
        try convolution.beginBackward(pass)
        norm.beginBackward()
        let gradient = state.workspace[.gradient].pointer
        for group in 0..<block.stage.groups {
            convolution.beginBackward(group: group, pass)
            for y in 0..<block.layout.height {
                convolution.inputGradient(row: y, into: gradient, next: nil)
                norm.backwardPanel(gradient, group: group, row: y, accumulate: true)
            }
            norm.flushBackward()
            convolution.addWeightGradient(group: group, block.values, norm.affine)
        }
        convolution.endBackward()
        norm.endBackward()
    }
}

/// Norm, ReLU, 1×1 convolution to 4k channels, norm, ReLU, 3×3 convolution: DenseNet-B's layer.
final class BottleneckLayer: DenseLayer {
    private let norm1: FeatureNorm
    private let weight: Parameter
    private let norm2: OwnNorm
    private let convolution: FeatureConvolution
    private let dropout: Dropout
    private unowned let block: FeatureBlock
    private let state: NetworkState
    /// The 1×1 convolution's output. Kept until backward, where each layer has its own.
    private let reduced: Panels
    /// The masked gradient of the second norm's output; the layers of a block use one in turn. Training only.
    private let reducedGradient: Panels?

    init(
        _ parameters: ParameterTable.DenseLayer, in block: FeatureBlock, layer: Int, reduced: Panels, reducedGradient: Panels?,
        state: NetworkState
    ) {
        guard let second = parameters.norm2, let conv2 = parameters.conv2 else { preconditionFailure("a layer without bottleneck") }
        self.block = block
        self.state = state
        self.reduced = reduced
        self.reducedGradient = reducedGradient
        weight = parameters.conv1
        norm1 = FeatureNorm(parameters.norm1, of: block, state: state)
        norm2 = OwnNorm(second, state: state)
        dropout = Dropout(probability: state.configuration.dropout, layer: layer, stage: block.stage, workspace: state.workspace)
        convolution = FeatureConvolution(conv2, to: block, from: norm1.channels, layer: layer + 1, state: state)
        let workspace = state.workspace, lanes = block.layout.lanes
        workspace.reserve(.activation, norm1.channels * lanes)
        workspace.reserve(.gradient, norm2.channels * lanes)
        workspace.reserve(.inputGradient, norm1.channels * lanes)
        workspace.reserve(.transposed, lanes * norm2.channels.roundedToVector)
        workspace.reserve(.weights, norm1.channels * norm2.channels)
        workspace.reserve(.weightGradient, norm1.channels * norm2.channels.roundedToVector)
    }

    func forward(_ pass: Pass) throws {
        norm1.prepare(pass)
        reduce(pass)
        try norm2.prepare(pixels: block.pixels(pass), pass)
        try convolution.forward(reduced, norm2.affine, pass)
    }

    /// The 1×1 convolution of max(0, affine(x)); the activation is made a panel at a time and never stored.
    private func reduce(_ pass: Pass) {
        let workspace = state.workspace, layout = block.layout, lanes = layout.lanes
        let activation = workspace[.activation].pointer
        let packed = PackedWeights(taps: 1, outputs: norm2.channels, inputs: norm1.channels, in: workspace[.weights])
        packed.packForward(state.parameters.pointer + weight.offset)
        norm2.sums.clear()
        for group in 0..<block.stage.groups {
            dropout.begin(group: group, pass)
            let mask = block.stage.mask(group)
            for y in 0..<layout.height {
                norm1.affine.reluPanel(
                    block.values.panel(group, y), lanes: lanes, live: lanes, into: activation, outputStride: lanes)
                let output = reduced.panel(group, y)
                packed.convolve(
                    activation, stride: lanes, tapOffsets: workspace.noOffset.pointer, lanes: lanes, into: output, outputStride: lanes,
                    next: block.panelAfter(group, y, in: block.values), nextCount: norm1.channels * lanes)
                dropout.apply(output, channels: norm2.channels, stride: lanes, row: y, pass)
                if pass.training { addSums(output, lanes: lanes, mask: mask, to: norm2.sums) }
            }
            norm2.sums.flush()
        }
    }

    func backward(_ pass: Pass) throws {
        try backwardOfFeatures(pass)
        try norm2.closeBackward(pixels: block.pixels(pass), pass)
        backwardOfReduction(pass)
    }

    /// From the new channels' gradient to the masked gradient of the second norm's output.
    private func backwardOfFeatures(_ pass: Pass) throws {
        guard let reducedGradient else { preconditionFailure("backward of an evaluating network") }
        let layout = block.layout
        try convolution.beginBackward(pass)
        norm2.sums.clear()
        for group in 0..<block.stage.groups {
            convolution.beginBackward(group: group, pass)
            for y in 0..<layout.height {
                let gradient = reducedGradient.panel(group, y), values = reduced.panel(group, y)
                convolution.inputGradient(row: y, into: gradient, next: values)
                norm2.backwardPanel(gradient, values: values, lanes: layout.lanes, mask: block.stage.mask(group))
            }
            norm2.sums.flush()
            convolution.addWeightGradient(group: group, reduced, norm2.affine)
        }
        convolution.endBackward()
    }

    /// From there through the 1×1 convolution to G and the gradients of the first norm.
    private func backwardOfReduction(_ pass: Pass) {
        guard let reducedGradient else { preconditionFailure("backward of an evaluating network") }
        let workspace = state.workspace, layout = block.layout, lanes = layout.lanes
        let inputs = norm1.channels, outputs = norm2.channels, width = outputs.roundedToVector
        let gradient = workspace[.gradient].pointer, activation = workspace[.activation].pointer
        let transposed = workspace[.transposed].pointer, inputGradient = workspace[.inputGradient].pointer
        let packed = PackedWeights(taps: 1, outputs: inputs, inputs: outputs, in: workspace[.weights])
        packed.packBackward(state.parameters.pointer + weight.offset)
        workspace[.weightGradient][0..<inputs * width].update(repeating: 0)
        norm1.beginBackward()
        for group in 0..<block.stage.groups {
            dropout.begin(group: group, pass)
            for y in 0..<layout.height {
                let values = block.values.panel(group, y)
                norm2.backward.apply(
                    gradient: reducedGradient.panel(group, y), values: reduced.panel(group, y), lanes: lanes,
                    mask: block.stage.mask(group), into: gradient, outputStride: lanes)
                dropout.apply(gradient, channels: outputs, stride: lanes, row: y, pass)
                transposePanel(gradient, stride: lanes, channels: outputs, lanes: lanes, into: transposed)
                norm1.affine.reluPanel(values, lanes: lanes, live: lanes, into: activation, outputStride: lanes)
                addWeightGradient(
                    transposed: transposed, width: width, transposedRow: 0, other: activation, otherStride: lanes, otherRow: 0,
                    others: inputs, lanes: lanes, rows: 1, to: workspace[.weightGradient].pointer)
                packed.convolve(
                    gradient, stride: lanes, tapOffsets: workspace.noOffset.pointer, lanes: lanes, into: inputGradient,
                    outputStride: lanes, next: block.panelAfter(group, y, in: block.values), nextCount: inputs * lanes)
                norm1.backwardPanel(inputGradient, group: group, row: y, accumulate: true)
            }
            norm1.flushBackward()
        }
        norm1.endBackward()
        state.writePointwiseGradient(of: weight, width: width)
    }
}
