import Kernels

/// The weight gradient of a 3×3 convolution.
///
/// A task accumulates the products of Winograd's filtering, followed by the taps of the remaining rows, if there are
/// any: shape [3][3][outputs][inputs, rounded up to whole vectors], or [outputs][inputs, rounded up] in images of one
/// pixel.
struct SpatialWeightGradient {
    /// The output's padded gradient; in bfloat16, too, one number per lane.
    let outputShape: PaddedGroup.Shape
    private let weight: Parameter
    private let layout: PanelLayout
    private let precision: Precision
    private let outputs: Int
    private let inputs: Int
    /// Floats per lane of the transposed activation.
    private let width: Int
    private let winogradRows: Int
    private let winograd: RowWinogradGradient

    init(_ weight: Parameter, layout: PanelLayout, precision: Precision) {
        self.weight = weight
        self.layout = layout
        self.precision = precision
        outputs = weight.shape[0]
        inputs = weight.shape[1]
        width = inputs.roundedToVector
        winogradRows = SpatialProduct.winogradRows(layout, precision)
        outputShape = PaddedGroup.Shape(channels: outputs, layout: layout)
        let paddedShape = PaddedGroup.Shape(channels: precision.elements(outputs), layout: layout)
        winograd = RowWinogradGradient(inputs: inputs, output: paddedShape)
    }

    func reserve(in needs: inout WorkspaceNeeds) {
        if precision == .bfloat16 { needs.reserve(.paddedBFloat16, (outputShape.count + 1) / 2) }
        needs.reserve(weightGradient: count, sum: productCount + 9 * tapCount, layout: layout)
    }

    private var productCount: Int { winogradRows > 0 ? winograd.productCount : 0 }
    private var tapCount: Int { outputs * width }
    /// Size of one task's sums, in floats.
    var count: Int {
        if layout.isOnePixel { return tapCount }
        return winogradRows == layout.height ? productCount : productCount + 9 * tapCount
    }

    /// Adds the part of a group's rows; recomputes the activated input, transposed.
    ///
    /// - Parameter accumulate: false for a task of whole groups to start with it.
    @inline(__always)
    func add(
        _ padded: PaddedGroup, _ input: some NormalizedInput, _ group: Int,
        to gradient: UnsafeMutablePointer<Float>, accumulate: Bool, _ task: PassTask
    ) {
        let worker = task.worker
        worker.clock.enter(.norm)
        let transposed = transpose(input, group, task)
        worker.clock.enter(.spatial)
        let runs = task.rows.clamped(to: 0..<winogradRows)
        if !runs.isEmpty {
            winograd.add(
                runs, transposed: transposed, padded: padded, scratch: worker.winograd.pointer, to: gradient,
                accumulate: accumulate)
        }
        if layout.isOnePixel { return add(4, task, transposed, padded, to: gradient, accumulate: accumulate) }
        if winogradRows == layout.height { return }
        for tap in 0..<9 {
            let sum = gradient + productCount + tap * tapCount
            add(tap, task, transposed, padded, to: sum, accumulate: accumulate)
        }
    }

    /// The activated input of a group with a row of zeros before and after: shape [height + 2][lanes][width], as far as
    /// the task's rows need it.
    @inline(__always)
    private func transpose(
        _ input: some NormalizedInput, _ group: Int, _ task: PassTask
    ) -> UnsafePointer<Float> {
        let lanes = layout.lanes
        let activation = PanelNumbers(in: task.worker.activation, precision)
        let transposed = task.worker.transposed.pointer
        transposed.update(repeating: 0, count: rowCount)
        for y in layout.rowsUnderTaps(of: task.rows) {
            let row = input.values.numbers(group, y)
            switch row.precision {
            case .float32:
                input.affine.reluPanel(
                    row, lanes: lanes, valid: layout.validLanes, into: activation.floats, outputStride: lanes)
            case .bfloat16:
                input.affine.reluPanel(
                    row.bfloat16, lanes: lanes, valid: layout.validLanes, into: activation.bfloat16)
            }
            transposePanel(
                activation, stride: lanes, channels: inputs, lanes: lanes, into: transposed + (y + 1) * rowCount)
        }
        (transposed + (layout.height + 1) * rowCount).update(repeating: 0, count: rowCount)
        return UnsafePointer(transposed)
    }

    /// Adds those of the task's rows that Winograd's filtering does not cover to one tap.
    private func add(
        _ tap: Int, _ task: PassTask, _ transposed: UnsafePointer<Float>, _ padded: PaddedGroup,
        to gradient: UnsafeMutablePointer<Float>, accumulate: Bool
    ) {
        // Output row y meets input row y + tap / 3 − 1; `transposed` has one row of zeros before the input's first.
        let first = max(max(winogradRows, 1 - tap / 3), task.rows.lowerBound)
        let rest = min(task.rows.upperBound, layout.height + 1 - tap / 3) - first
        guard rest > 0 else {
            if !accumulate { gradient.update(repeating: 0, count: tapCount) }
            return
        }
        let rows = transposed + (first + tap / 3) * rowCount
        switch precision {
        case .float32:
            addWeightGradient(
                transposed: rows, width: width, transposedRow: rowCount, other: padded.tap(1, 2 - tap % 3, row: first),
                otherStride: padded.stride, otherRow: padded.rowStride, others: outputs, lanes: layout.lanes,
                rows: rest, to: gradient, accumulate: accumulate)
        case .bfloat16:
            let single = task.worker.paddedBFloat16(outputShape)
            addWeightGradient(
                transposed: rows, width: width, transposedRow: rowCount, other: single.tap(1, 2 - tap % 3, row: first),
                otherStride: single.stride, otherRow: single.rowStride, others: outputs, lanes: layout.lanes,
                rows: rest, to: gradient, accumulate: accumulate)
        }
    }

    private var rowCount: Int { precision.elements(layout.lanes) * width }

    /// Writes the sum over all tasks to the flat gradient buffer.
    func write(_ sum: UnsafeMutablePointer<Float>, to state: SharedNetworkState) {
        let gradient = state.gradients.pointer + weight.offset
        if layout.isOnePixel { return writeCenter(sum, to: gradient) }
        let taps = sum + productCount
        if winogradRows == layout.height { taps.update(repeating: 0, count: 9 * tapCount) }
        if winogradRows > 0 { winograd.finish(sum) }
        for output in 0..<outputs {
            transposeMatrix(
                taps + output * width, rows: 9, columns: inputs, fromStride: tapCount,
                to: gradient + output * inputs * 9, toStride: 9)
        }
    }

    private func writeCenter(_ sum: UnsafePointer<Float>, to gradient: UnsafeMutablePointer<Float>) {
        gradient.update(repeating: 0, count: weight.count)
        for output in 0..<outputs {
            for input in 0..<inputs { gradient[(output * inputs + input) * 9 + 4] = sum[output * width + input] }
        }
    }
}
