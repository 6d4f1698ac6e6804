import Kernels

/// One layer of a dense block: reads all channels before it, appends k.
protocol DenseLayer: AnyObject {
    /// Collective in training.
    func forward(_ pass: Pass) throws
    /// Collective. Afterwards all of the layer's gradients are in the flat buffer.
    func backward(_ pass: Pass) throws
    /// Of the bottleneck's 1×1 output; nil without bottleneck.
    var reducedStatistics: ChannelStatistics? { get }
}

/// Norm, ReLU, 3×3 convolution: a layer without bottleneck.
final class PlainLayer: DenseLayer {
    let reducedStatistics: ChannelStatistics? = nil
    private let norm: FeatureNorm
    private let convolution: FeatureConvolution
    private unowned let block: FeatureBlock
    private let state: NetworkState

    init(_ parameters: ParameterTable.DenseLayer, in block: FeatureBlock, layer: Int, state: NetworkState) {
        self.block = block
        self.state = state
        norm = FeatureNorm(parameters.norm1, of: block, state: state)
        convolution = FeatureConvolution(parameters.conv1, to: block, from: norm.channels, layer: layer, state: state)
        state.workspace.needs.reserve(.gradient, RowWinograd.rows * norm.channels * block.layout.lanes)
    }

    func forward(_ pass: Pass) throws {
        norm.prepare(pass)
        try convolution.forward(block.values, norm.affine, pass)
    }

    func backward(_ pass: Pass) throws {
        try convolution.beginBackward(pass)
        state.workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let weightGradient = convolution.weightGradient(chunk: chunk)
            let sums = norm.beginBackward(chunk: chunk, worker)
            let gradient = worker.gradient.pointer
            for group in groups {
                let padded = convolution.beginBackward(group: group, worker, pass)
                convolution.inputGradient(
                    padded, into: gradient, rowPitch: 0, next: block.values.panel(group, 0),
                    nextPitch: block.channels * block.layout.lanes, worker
                ) { y, row in
                    norm.backwardPanel(row, group: group, row: y, accumulate: true, sums: sums)
                }
                sums.flushGradients()
                convolution.addWeightGradient(
                    padded, group: group, block.values, norm.affine, to: weightGradient, worker)
            }
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
    var reducedStatistics: ChannelStatistics? { norm2.statistics }

    init(
        _ parameters: ParameterTable.DenseLayer, in block: FeatureBlock, layer: Int, reduced: Panels,
        reducedGradient: Panels?, state: NetworkState
    ) {
        guard let second = parameters.norm2, let conv2 = parameters.conv2 else {
            preconditionFailure("a layer without bottleneck")
        }
        self.block = block
        self.state = state
        self.reduced = reduced
        self.reducedGradient = reducedGradient
        weight = parameters.conv1
        norm1 = FeatureNorm(parameters.norm1, of: block, state: state)
        norm2 = OwnNorm(second, state: state)
        dropout = Dropout(probability: state.configuration.dropout, layer: layer, stage: block.stage)
        convolution = FeatureConvolution(conv2, to: block, from: norm1.channels, layer: layer + 1, state: state)
        let workspace = state.workspace
        let lanes = block.layout.lanes
        workspace.needs.reserve(pointwise: weight, lanes: lanes)
        workspace.needs.reserve(.activation, norm1.channels * lanes)
        workspace.needs.reserve(.inputGradient, norm1.channels * lanes)
    }

    func forward(_ pass: Pass) throws {
        norm1.prepare(pass)
        reduce(pass)
        try norm2.prepare(pixels: block.pixels(pass), chunks: block.stage.chunks.count, pass)
        try convolution.forward(reduced, norm2.affine, pass)
    }

    /// The 1×1 convolution of max(0, affine(x)); the activation is made a panel at a time and never stored.
    private func reduce(_ pass: Pass) {
        let workspace = state.workspace
        let layout = block.layout
        let lanes = layout.lanes
        let packed = PackedWeights(
            taps: 1, outputs: norm2.channels, inputs: norm1.channels, in: workspace.weights, precision: state.precision)
        packed.packForward(state.parameters.pointer + weight.offset)
        workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let sums = norm2.sums.begin(chunk: chunk, worker: worker.index)
            let activation = worker.activation.pointer
            for group in groups {
                dropout.begin(group: group, worker, pass)
                let mask = block.stage.mask(group)
                for y in 0..<layout.height {
                    worker.clock.enter(.norm)
                    norm1.affine.reluPanel(
                        block.values.panel(group, y), lanes: lanes, live: lanes, into: activation, outputStride: lanes,
                        precision: state.precision)
                    let output = reduced.panel(group, y)
                    worker.clock.enter(.pointwise)
                    packed.convolve(
                        activation, stride: lanes, tapOffsets: workspace.noOffset.pointer, lanes: lanes, into: output,
                        outputStride: lanes, next: block.panelAfter(group, y, in: block.values),
                        nextCount: norm1.channels * lanes)
                    worker.clock.enter(.norm)
                    dropout.apply(output, channels: norm2.channels, stride: lanes, row: y, worker, pass)
                    if pass.training { addSums(output, lanes: lanes, mask: mask, to: sums) }
                }
                if pass.training { sums.flushValues() }
            }
        }
    }

    func backward(_ pass: Pass) throws {
        try backwardOfFeatures(pass)
        try norm2.closeBackward(pixels: block.pixels(pass), chunks: block.stage.chunks.count, pass)
        backwardOfReduction(pass)
    }

    /// From the new channels' gradient to the masked gradient of the second norm's output.
    private func backwardOfFeatures(_ pass: Pass) throws {
        guard let reducedGradient else { preconditionFailure("backward of an evaluating network") }
        let layout = block.layout
        try convolution.beginBackward(pass)
        state.workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let weightGradient = convolution.weightGradient(chunk: chunk)
            let sums = norm2.sums.begin(chunk: chunk, worker: worker.index)
            for group in groups {
                let padded = convolution.beginBackward(group: group, worker, pass)
                let pitch = norm2.channels * layout.lanes
                convolution.inputGradient(
                    padded, into: reducedGradient.panel(group, 0), rowPitch: pitch, next: reduced.panel(group, 0),
                    nextPitch: pitch, worker
                ) { y, row in
                    norm2.backwardPanel(
                        row, values: reduced.panel(group, y), lanes: layout.lanes, mask: block.stage.mask(group),
                        sums: sums)
                }
                sums.flushGradients()
                convolution.addWeightGradient(padded, group: group, reduced, norm2.affine, to: weightGradient, worker)
            }
        }
        convolution.endBackward()
    }

    /// From there through the 1×1 convolution to G and the gradients of the first norm.
    private func backwardOfReduction(_ pass: Pass) {
        let workspace = state.workspace
        let inputs = norm1.channels
        let width = norm2.channels.roundedToVector
        let weights = state.parameters.pointer + weight.offset
        let packed =
            switch state.precision {
            case .float32: PackedWeights(unpacked: weights, outputs: inputs, inputs: norm2.channels)
            case .bfloat16:
                PackedWeights(pairsOf: weights, outputs: inputs, inputs: norm2.channels, in: workspace.weights)
            }
        workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let weightGradient = workspace.weightGradient(chunk: chunk, count: inputs * width)
            let sums = norm1.beginBackward(chunk: chunk, worker)
            for group in groups {
                dropout.begin(group: group, worker, pass)
                for y in 0..<block.layout.height {
                    backwardOfReduction(group, y, packed, to: weightGradient, sums, worker, pass)
                }
                sums.flushGradients()
            }
        }
        norm1.endBackward()
        state.writePointwiseGradient(of: weight, width: width, block.stage)
    }

    private func backwardOfReduction(
        _ group: Int, _ y: Int, _ packed: PackedWeights, to weightGradient: UnsafeMutablePointer<Float>,
        _ sums: PartialSums, _ worker: WorkerSpace, _ pass: Pass
    ) {
        guard let reducedGradient else { preconditionFailure("backward of an evaluating network") }
        let lanes = block.layout.lanes
        let outputs = norm2.channels
        let values = block.values.panel(group, y)
        let gradient = worker.gradient.pointer
        worker.clock.enter(.norm)
        norm2.backward.apply(
            gradient: reducedGradient.panel(group, y), values: reduced.panel(group, y), lanes: lanes,
            mask: block.stage.mask(group), into: gradient, outputStride: lanes)
        dropout.apply(gradient, channels: outputs, stride: lanes, row: y, worker, pass)
        transposePanel(
            gradient, stride: lanes, channels: outputs, lanes: lanes, into: worker.transposed.pointer,
            precision: state.precision)
        switch state.precision {
        case .float32:
            let activation = worker.activation.pointer
            norm1.affine.reluPanel(values, lanes: lanes, live: lanes, into: activation, outputStride: lanes)
            worker.clock.enter(.pointwise)
            addWeightGradient(
                transposed: worker.transposed.pointer, width: outputs.roundedToVector, transposedRow: 0,
                other: activation, otherStride: lanes, otherRow: 0, others: norm1.channels, lanes: lanes, rows: 1,
                to: weightGradient, next: block.gradients?.panel(group, y), nextCount: norm1.channels * lanes)
        case .bfloat16:
            let activation = halves(in: worker.activation)
            norm1.affine.reluPanel(values, lanes: lanes, into: activation)
            writeChannelPairs(
                gradient, stride: lanes, channels: outputs, lanes: lanes, into: gradient, pairsStride: lanes)
            worker.clock.enter(.pointwise)
            addWeightGradient(
                transposed: worker.transposed.pointer, width: outputs.roundedToVector, transposedRow: 0,
                other: UnsafePointer(activation), otherStride: lanes, otherRow: 0, others: norm1.channels, lanes: lanes,
                rows: 1, to: weightGradient, next: block.gradients?.panel(group, y), nextCount: norm1.channels * lanes)
        }
        packed.convolve(
            gradient, stride: lanes, tapOffsets: state.workspace.noOffset.pointer, lanes: lanes,
            into: worker.inputGradient.pointer, outputStride: lanes, next: block.panelAfter(group, y, in: block.values),
            nextCount: norm1.channels * lanes)
        worker.clock.enter(.norm)
        norm1.backwardPanel(worker.inputGradient.pointer, group: group, row: y, accumulate: true, sums: sums)
    }
}
