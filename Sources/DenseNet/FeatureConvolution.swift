import Kernels

/// A 3×3 convolution that appends a dense layer's k new channels to its block: forward and backward, a group of images
/// at a time.
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
    /// The output's with all channels, where `outputShape` may be of pairs.
    private let gradientShape: PaddedGroup.Shape
    private var layout: PanelLayout { block.layout }
    /// Rows of the transposed activation.
    private var width: Int { inputs.roundedToVector }
    private var weightWinograd: RowWinogradGradient { RowWinogradGradient(inputs: inputs, output: outputShape) }
    /// Floats of the sums of Winograd's products, behind which the nine taps' gradients stand.
    private var productCount: Int { winogradRows > 0 ? weightWinograd.productCount : 0 }
    private var gradientCount: Int { productCount + 9 * growth * width }

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
        inputShape = PaddedGroup.Shape(channels: state.precision.elements(inputs), layout: block.layout)
        outputShape = PaddedGroup.Shape(channels: state.precision.elements(growth), layout: block.layout)
        gradientShape = PaddedGroup.Shape(channels: growth, layout: block.layout)
        state.workspace.needs.reserve(spatial: weight, layout: block.layout)
        if state.precision == .bfloat16 { state.workspace.needs.reserve(.paddedHalves, (gradientShape.count + 1) / 2) }
    }

    /// New channels = convolution of max(0, affine(input)), and their statistics. Collective in training.
    func forward(_ input: Panels, _ affine: ChannelAffine, _ pass: Pass) throws {
        let workspace = state.workspace
        let weights = state.parameters.pointer + weight.offset
        forwardWeights.packForward(weights)
        if winogradRows > 0 { forwardWinograd.pack(forwardWeights) }
        inputShape.writeTapOffsets(to: workspace.tapOffsets.pointer)
        workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let partial = sums.begin(chunk: chunk, worker: worker.index)
            for group in groups { forward(group, input, affine, partial, worker, pass) }
        }
        if pass.training { try block.setStatistics(ofChannelsFrom: first, sums, pass) }
    }

    private func forward(
        _ group: Int, _ input: Panels, _ affine: ChannelAffine, _ partial: PartialSums, _ worker: WorkerSpace,
        _ pass: Pass
    ) {
        let lanes = layout.lanes
        let padded = worker.padded.group(inputShape)
        let mask = block.stage.mask(group)
        let tapOffsets = state.workspace.tapOffsets.pointer
        let nextGroup = group + 1 < block.stage.groups ? group + 1 : nil
        worker.clock.enter(.norm)
        for y in 0..<layout.height {
            affine.reluPanel(
                input.panel(group, y), lanes: lanes, live: layout.liveLanes, into: padded.interior(y),
                outputStride: padded.stride, precision: state.precision)
        }
        worker.clock.enter(.spatial)
        for y in stride(from: 0, to: winogradRows, by: RowWinograd.rows) {
            forwardWinograd.convolve(
                padded, row: y, into: block.values.panel(group, y) + first * lanes, rowPitch: block.channels * lanes,
                tapOffsets: tapOffsets, scratch: worker.winograd.pointer,
                next: nextGroup.map { UnsafePointer(input.panel($0, y)) }, nextCount: inputs * lanes,
                nextPitch: input.channels * lanes)
        }
        for y in winogradRows..<layout.height {
            forwardWeights.convolve(
                padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: tapOffsets, only: taps(ofRow: y),
                lanes: lanes, into: block.values.panel(group, y) + first * lanes, outputStride: lanes,
                next: nextGroup.map { UnsafePointer(input.panel($0, y)) }, nextCount: inputs * lanes)
        }
        worker.clock.enter(.norm)
        guard pass.training else { return }
        dropout.begin(group: group, worker, pass)
        for y in 0..<layout.height {
            let new = block.values.panel(group, y) + first * lanes
            dropout.apply(new, channels: growth, stride: lanes, row: y, worker, pass)
            addSums(new, lanes: lanes, mask: mask, to: partial)
        }
        partial.flushValues()
    }

    /// Rows that Winograd's filtering does, four at a time; the others are convolved tap by tap, and in bfloat16 all
    /// are, which is faster there, and whose few digits the transforms would eat up.
    private var winogradRows: Int {
        state.precision == .float32 ? layout.height / RowWinograd.rows * RowWinograd.rows : 0
    }

    /// The taps that meet pixels in an output row, where others meet the zeros above, below or, in images of one pixel,
    /// beside.
    private func taps(ofRow y: Int) -> Range<Int> {
        if layout.width == 1 && layout.height == 1 { return 4..<5 }
        return (y == 0 ? 3 : 0)..<(y == layout.height - 1 ? 6 : 9)
    }

    private var forwardWinograd: RowWinograd {
        RowWinograd(outputs: growth, input: inputShape, in: state.workspace.weights)
    }
    private var forwardWeights: PackedWeights {
        PackedWeights(
            taps: 9, outputs: growth, inputs: inputs, in: state.workspace.directWeights, precision: state.precision)
    }
    private var backwardWinograd: RowWinograd {
        RowWinograd(outputs: inputs, input: outputShape, in: state.workspace.weights)
    }
    private var backwardWeights: PackedWeights {
        PackedWeights(
            taps: 9, outputs: inputs, inputs: growth, in: state.workspace.directWeights, precision: state.precision)
    }

    /// All readers of the new channels have added their gradients: closes them and prepares the products. Collective.
    func beginBackward(_ pass: Pass) throws {
        try block.closeGradient(ofChannelsFrom: first, sums, into: closing, pass)
        let weights = state.parameters.pointer + weight.offset
        backwardWeights.packBackward(weights)
        if winogradRows > 0 { backwardWinograd.pack(backwardWeights) }
        outputShape.writeTapOffsets(to: state.workspace.tapOffsets.pointer)
    }

    /// A task's empty gradient of the weights.
    func weightGradient(chunk: Int) -> UnsafeMutablePointer<Float> {
        state.workspace.weightGradient(chunk: chunk, count: gradientCount)
    }

    /// Writes the gradient of a group's new channels where the products of backward read it.
    func beginBackward(group: Int, _ worker: WorkerSpace, _ pass: Pass) -> PaddedGroup {
        guard let gradients = block.gradients else { preconditionFailure("backward of an evaluating network") }
        let padded = worker.paddedGradient.group(outputShape)
        let lanes = layout.lanes
        let halves = state.precision == .bfloat16 ? worker.paddedHalves(gradientShape) : nil
        worker.clock.enter(.norm)
        dropout.begin(group: group, worker, pass)
        for y in 0..<layout.height {
            let row = halves == nil ? padded.interior(y) : worker.activation.pointer
            let stride = halves == nil ? padded.stride : lanes
            closing.apply(
                gradient: gradients.panel(group, y) + first * lanes,
                values: block.values.panel(group, y) + first * lanes, lanes: lanes, mask: block.stage.mask(group),
                into: row, outputStride: stride)
            dropout.apply(row, channels: growth, stride: stride, row: y, worker, pass)
            guard let halves else { continue }
            halves.write(row, channels: growth, lanes: lanes, row: y)
            writeChannelPairs(
                row, stride: stride, channels: growth, lanes: lanes, into: padded.interior(y),
                pairsStride: padded.stride)
        }
        return padded
    }

    /// The gradient of a group's activated input, row after row, each of shape [inputs][lanes].
    ///
    /// - Parameters:
    ///   - output: row 0; the next row is `rowPitch` floats on, or in the same place where that is zero.
    ///   - next: row 0 of what `body` reads beside it, prefetched meanwhile; the next row is `nextPitch` floats on.
    ///   - body: takes a row that is done.
    @inline(__always)
    func inputGradient(
        _ padded: PaddedGroup, into output: UnsafeMutablePointer<Float>, rowPitch: Int, next: UnsafePointer<Float>,
        nextPitch: Int, _ worker: WorkerSpace, _ body: (_ y: Int, _ row: UnsafeMutablePointer<Float>) -> Void
    ) {
        let lanes = layout.lanes
        let tapOffsets = state.workspace.tapOffsets.pointer
        let pitch = rowPitch > 0 ? rowPitch : inputs * lanes
        for y in stride(from: 0, to: winogradRows, by: RowWinograd.rows) {
            let rows = output + y * rowPitch
            worker.clock.enter(.spatial)
            backwardWinograd.convolve(
                padded, row: y, into: rows, rowPitch: pitch, tapOffsets: tapOffsets, scratch: worker.winograd.pointer,
                next: next + y * nextPitch, nextCount: inputs * lanes, nextPitch: nextPitch)
            worker.clock.enter(.norm)
            for row in 0..<RowWinograd.rows { body(y + row, rows + row * pitch) }
        }
        for y in winogradRows..<layout.height {
            let row = output + y * rowPitch
            worker.clock.enter(.spatial)
            backwardWeights.convolve(
                padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: tapOffsets, only: taps(ofRow: y),
                lanes: lanes, into: row, outputStride: lanes, next: next + y * nextPitch, nextCount: inputs * lanes)
            worker.clock.enter(.norm)
            body(y, row)
        }
    }

    /// Adds a group's part of the weights' gradient; the activated input is made once more, transposed.
    func addWeightGradient(
        _ padded: PaddedGroup, group: Int, _ input: Panels, _ affine: ChannelAffine,
        to gradient: UnsafeMutablePointer<Float>, _ worker: WorkerSpace
    ) {
        let lanes = layout.lanes
        let width = width
        let rowCount = state.precision.elements(lanes) * width
        let activation = worker.activation.pointer
        let transposed = worker.transposed.pointer
        worker.clock.enter(.norm)
        transposed.update(repeating: 0, count: rowCount)
        for y in 0..<layout.height {
            affine.reluPanel(
                input.panel(group, y), lanes: lanes, live: layout.liveLanes, into: activation, outputStride: lanes)
            transposePanel(
                activation, stride: lanes, channels: inputs, lanes: lanes, into: transposed + (y + 1) * rowCount,
                precision: state.precision)
        }
        (transposed + (layout.height + 1) * rowCount).update(repeating: 0, count: rowCount)
        worker.clock.enter(.spatial)
        if winogradRows > 0 {
            weightWinograd.add(transposed: transposed, padded: padded, scratch: worker.winograd.pointer, to: gradient)
        }
        for tap in layout.width == 1 && layout.height == 1 ? 4..<5 : 0..<9 {
            // The output row y meets the input row y + tap's row − 1, which stands one further in the transposed rows.
            let first = max(winogradRows, 1 - tap / 3)
            let rest = min(layout.height, layout.height + 1 - tap / 3) - first
            guard rest > 0 else { continue }
            let rows = transposed + (first + tap / 3) * rowCount
            let to = gradient + productCount + tap * growth * width
            switch state.precision {
            case .float32:
                Kernels.addWeightGradient(
                    transposed: rows, width: width, transposedRow: rowCount,
                    other: padded.tap(1, 2 - tap % 3, row: first), otherStride: padded.stride,
                    otherRow: padded.rowStride, others: growth, lanes: lanes, rows: rest, to: to)
            case .bfloat16:
                let halves = worker.paddedHalves(gradientShape)
                Kernels.addWeightGradient(
                    transposed: rows, width: width, transposedRow: rowCount,
                    other: halves.tap(1, 2 - tap % 3, row: first), otherStride: halves.stride,
                    otherRow: halves.rowStride, others: growth, lanes: lanes, rows: rest, to: to)
            }
        }
    }

    /// Writes this rank's gradient of the weights into the flat buffer.
    func endBackward() {
        let sum = state.workspace.sumOfWeightGradients(block.stage, count: gradientCount)
        if winogradRows > 0 { weightWinograd.finish(sum) }
        let from = sum + productCount
        let to = state.gradients.pointer + weight.offset
        for output in 0..<growth {
            transposeMatrix(
                from + output * width, rows: 9, columns: inputs, fromStride: growth * width,
                to: to + output * inputs * 9, toStride: 9)
        }
    }
}
