import Kernels

/// A dense layer's 3×3 convolution, which appends k channels to its block.
///
/// It works on groups of images with zero borders. Forward also applies dropout and sums the new channels while a group
/// is in the cache.
final class GrowthConvolution {
    private let weight: Parameter
    private let growth: Int
    private let inputs: Int
    private let layout: PanelLayout
    private let precision: Precision
    private let dropout: Dropout
    private let state: SharedNetworkState
    private let inputShape: PaddedGroup.Shape
    private let outputShape: PaddedGroup.Shape
    private let weightGradient: SpatialWeightGradient

    /// - Parameter layer: the convolution's index for dropout.
    init(_ weight: Parameter, featureMap: FeatureMap, layer: Int, state: SharedNetworkState) {
        self.weight = weight
        self.state = state
        growth = weight.shape[0]
        inputs = weight.shape[1]
        layout = featureMap.layout
        precision = state.precision
        dropout = Dropout(probability: state.configuration.dropout, layer: layer, featureMap: featureMap)
        inputShape = PaddedGroup.Shape(channels: precision.elements(inputs), layout: layout)
        outputShape = PaddedGroup.Shape(channels: precision.elements(growth), layout: layout)
        weightGradient = SpatialWeightGradient(weight, layout: layout, precision: precision)
        state.workspace.needs.reserve(spatial: weight, layout: layout)
        weightGradient.reserve(in: &state.workspace.needs)
    }

    // MARK: Forward

    /// output = dropout(W * input); also sums the output where its batch statistics are taken.
    func forward(_ input: some NormalizedInput, into output: ProducedChannels, _ pass: PassContext) {
        let product = SpatialProduct(
            outputs: growth, inputs: inputs, inputShape, precision,
            nextCount: precision.elements(inputs * layout.lanes), state.workspace)
        product.packForward(weights)
        state.workspace.forEachTask(of: output.featureMap, cutAt: product.units) { task in
            let sums = output.sums.begin(task: task.index, worker: task.worker.index)
            for group in task.groups {
                let padded = padded(input, group, task)
                dropout.begin(group: group, task.worker, pass)
                convolve(padded, product, input, group, into: output, sums, task, pass)
                if output.isSummed(pass) { sums.flushValues() }
            }
        }
    }

    /// The activated, zero-padded input of a group, as far as the task's rows need it.
    @inline(__always)
    private func padded(_ input: some NormalizedInput, _ group: Int, _ task: PassTask) -> PaddedGroup {
        let padded = task.worker.padded.group(inputShape)
        task.worker.clock.enter(.norm)
        for y in layout.rowsUnderTaps(of: task.rows) {
            input.affine.reluPanel(
                input.values.numbers(group, y), lanes: layout.lanes, valid: layout.validLanes, into: padded.interior(y),
                outputStride: padded.stride)
        }
        return padded
    }

    @inline(__always)
    private func convolve(
        _ padded: PaddedGroup, _ product: SpatialProduct, _ input: some NormalizedInput, _ group: Int,
        into output: ProducedChannels, _ sums: PartialSums, _ task: PassTask, _ pass: PassContext
    ) {
        let worker = task.worker
        let nextGroup = group + 1 < output.featureMap.groups ? group + 1 : nil
        var rows = product.firstRows(of: task.rows)
        while !rows.isEmpty {
            worker.clock.enter(.spatial)
            let place = output.row(group, rows.lowerBound).place(orIn: worker.activation)
            product.convolve(
                padded, rows, into: place, rowPitch: output.values.rowElements,
                next: nextGroup.map { input.values.numbers($0, rows.lowerBound).memory },
                nextPitch: input.values.rowElements, worker)
            worker.clock.enter(.norm)
            for y in rows { finish(output, group, y, computedIn: place, sums, worker, pass) }
            rows = product.rows(after: rows, of: task.rows)
        }
    }

    /// Applies dropout to a row of new channels, stores it and sums it.
    @inline(__always)
    private func finish(
        _ output: ProducedChannels, _ group: Int, _ y: Int, computedIn place: UnsafeMutablePointer<Float>,
        _ sums: PartialSums, _ worker: WorkerSpace, _ pass: PassContext
    ) {
        let row = output.row(group, y)
        let floats = row.precision == .float32 ? row.floats : place
        dropout.apply(floats, channels: growth, stride: layout.lanes, row: y, worker, pass)
        row.store(floats, channels: growth, lanes: layout.lanes, stride: layout.lanes)
        if output.isSummed(pass) { addSums(row, lanes: layout.lanes, mask: output.featureMap.mask(group), to: sums) }
    }

    // MARK: Backward

    /// Computes the gradients of the input and of the weights.
    func backward(from output: ProducedChannels, to input: some NormalizedInput, _ pass: PassContext) {
        let workspace = state.workspace
        let product = SpatialProduct(
            outputs: inputs, inputs: growth, outputShape, precision,
            nextCount: precision.elements(inputs * layout.lanes), workspace)
        product.packBackward(weights)
        let sum = workspace.sumOfWeightGradients(
            of: output.featureMap, cutAt: product.units, count: weightGradient.count
        ) { task, gradient in
            let sums = input.beginGradient(task)
            // A task of some rows may leave a part of the gradient to others.
            let isCut = task.rows.count < output.layout.height
            if isCut { gradient.update(repeating: 0, count: weightGradient.count) }
            for group in task.groups {
                let padded = paddedGradient(output, group, task, pass)
                addInputGradient(padded, product, input, group, to: sums, task)
                weightGradient.add(
                    padded, input, group, to: gradient, accumulate: isCut || group > task.groups.lowerBound, task)
            }
        }
        weightGradient.write(sum, to: state)
    }

    /// ∂L/∂output of a group, as far as the task's rows need it, before dropout, zero-padded; in bfloat16 also with one
    /// number per lane, for the weight gradient.
    @inline(__always)
    private func paddedGradient(
        _ output: ProducedChannels, _ group: Int, _ task: PassTask, _ pass: PassContext
    ) -> PaddedGroup {
        let worker = task.worker
        let padded = worker.paddedGradient.group(outputShape)
        let single = precision == .bfloat16 ? worker.paddedBFloat16(weightGradient.outputShape) : nil
        worker.clock.enter(.norm)
        dropout.begin(group: group, worker, pass)
        for y in layout.rowsUnderTaps(of: task.rows) {
            let row = single.map { PanelNumbers($0.interior(y)) } ?? PanelNumbers(padded.interior(y))
            let stride = single?.stride ?? padded.stride
            output.writeGradient(group, y, before: dropout, into: row, stride: stride, worker, pass)
            guard let single else { continue }
            writeChannelPairs(
                single.interior(y), stride: stride, channels: growth, lanes: layout.lanes, into: padded.interior(y),
                pairsStride: padded.stride)
        }
        return padded
    }

    @inline(__always)
    private func addInputGradient<Input: NormalizedInput>(
        _ padded: PaddedGroup, _ product: SpatialProduct, _ input: Input, _ group: Int, to sums: PartialSums,
        _ task: PassTask
    ) {
        let (worker, pitch) = (task.worker, inputs * layout.lanes)
        var rows = product.firstRows(of: task.rows)
        while !rows.isEmpty {
            let y = rows.lowerBound
            let gradient = input.gradientRow(group, y, worker)
            worker.clock.enter(.spatial)
            product.convolve(
                padded, rows, into: gradient, rowPitch: pitch, next: input.values.numbers(group, y).memory,
                nextPitch: input.values.rowElements, worker)
            worker.clock.enter(.norm)
            for row in rows { input.addGradient(gradient + (row - y) * pitch, group, row, to: sums) }
            rows = product.rows(after: rows, of: task.rows)
        }
        input.endGroup(sums)
    }

    private var weights: UnsafeMutablePointer<Float> { state.parameters.pointer + weight.offset }
}

/// A 3×3 convolution of padded groups, forward or backward: four rows at a time by Winograd's filtering, the remaining
/// rows tap by tap.
///
/// In bfloat16 all rows are convolved tap by tap: that is faster, and the transforms would cost too much precision.
struct SpatialProduct {
    private let layout: PanelLayout
    private let nextCount: Int
    private let winogradRows: Int
    private let winograd: RowWinograd
    private let direct: PackedWeights
    private let tapOffsets: UnsafePointer<Int>

    /// - Parameters:
    ///   - shape: the padded input's; in bfloat16 its channels are pairs.
    ///   - nextCount: floats that `convolve` prefetches per row.
    ///   - workspace: holds the packed weights until the next product overwrites them.
    init(
        outputs: Int, inputs: Int, _ shape: PaddedGroup.Shape, _ precision: Precision, nextCount: Int,
        _ workspace: Workspace
    ) {
        layout = shape.layout
        self.nextCount = nextCount
        winogradRows = Self.winogradRows(layout, precision)
        winograd = RowWinograd(outputs: outputs, input: shape, in: workspace.weights)
        direct = PackedWeights(
            taps: layout.isOnePixel ? 1 : 9, outputs: outputs, inputs: inputs, in: workspace.directWeights,
            precision: precision)
        shape.writeTapOffsets(to: workspace.tapOffsets.pointer)
        // The only tap of images of one pixel is the fifth.
        tapOffsets = UnsafePointer(workspace.tapOffsets.pointer) + (layout.isOnePixel ? 4 : 0)
    }

    /// The number of rows, from the top, that use Winograd's filtering.
    static func winogradRows(_ layout: PanelLayout, _ precision: Precision) -> Int {
        precision == .float32 ? layout.height / RowWinograd.rows * RowWinograd.rows : 0
    }

    /// Packs weights of shape [outputs][inputs][3][3].
    func packForward(_ weights: UnsafePointer<Float>) {
        if layout.isOnePixel { return direct.packCenterForward(weights) }
        direct.packForward(weights)
        if winogradRows > 0 { winograd.pack(direct) }
    }

    /// Packs weights of shape [inputs][outputs][3][3] for the gradient with respect to the input.
    func packBackward(_ weights: UnsafePointer<Float>) {
        if layout.isOnePixel { return direct.packCenterBackward(weights) }
        direct.packBackward(weights)
        if winogradRows > 0 { winograd.pack(direct) }
    }

    /// Where a pass may cut a group.
    var units: RowUnits { RowUnits(height: layout.height, inRunsOf: RowWinograd.rows, rows: winogradRows) }

    /// The rows of the first call of `convolve` for a task's rows.
    func firstRows(of task: Range<Int>) -> Range<Int> { rows(after: task.lowerBound..<task.lowerBound, of: task) }

    /// The rows of the call after the one for `rows`; empty after the task's last.
    func rows(after rows: Range<Int>, of task: Range<Int>) -> Range<Int> {
        let y = rows.upperBound
        return y..<min(task.upperBound, y < winogradRows ? y + RowWinograd.rows : y + 1)
    }

    /// Computes the output's `rows`, each of shape [outputs][lanes].
    ///
    /// - Parameters:
    ///   - output: the first row; rows are `rowPitch` floats apart.
    ///   - next: memory to prefetch, which is read after this call; rows are `nextPitch` floats apart.
    @inline(__always)
    func convolve(
        _ padded: PaddedGroup, _ rows: Range<Int>, into output: UnsafeMutablePointer<Float>, rowPitch: Int,
        next: UnsafePointer<Float>?, nextPitch: Int, _ worker: WorkerSpace
    ) {
        let y = rows.lowerBound
        if y < winogradRows {
            winograd.convolve(
                padded, row: y, into: output, rowPitch: rowPitch, tapOffsets: tapOffsets,
                scratch: worker.winograd.pointer, next: next, nextCount: nextCount, nextPitch: nextPitch)
        } else {
            direct.convolve(
                padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: tapOffsets, only: taps(ofRow: y),
                lanes: layout.lanes, into: output, outputStride: layout.lanes, next: next, nextCount: nextCount)
        }
    }

    /// The taps that read pixels in an output row; the others read the zeros above or below.
    private func taps(ofRow y: Int) -> Range<Int> {
        if layout.isOnePixel { return 0..<1 }
        return (y == 0 ? 3 : 0)..<(y == layout.height - 1 ? 6 : 9)
    }
}

extension PanelLayout {
    /// Whether only the centre of a 3×3 kernel meets a pixel; the other taps read zeros.
    var isOnePixel: Bool { width == 1 && height == 1 }

    /// The rows that the taps of a 3×3 convolution meet, for some output rows.
    func rowsUnderTaps(of rows: Range<Int>) -> Range<Int> {
        max(rows.lowerBound - 1, 0)..<min(rows.upperBound + 1, height)
    }
}
