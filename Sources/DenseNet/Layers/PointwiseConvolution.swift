import Kernels

/// A 1×1 convolution, or the stem's convolution as a 1×1 convolution of image patches.
///
/// Forward also applies dropout and sums the produced channels while a row is in the cache.
final class PointwiseConvolution {
    private let weight: Parameter
    private let inputs: Int
    private let outputs: Int
    private let precision: Precision
    private let dropout: Dropout
    private let state: SharedNetworkState
    /// Floats from one input to the next in the weight gradient where the kernel writes it transposed.
    private var gradientWidth: Int { outputs.roundedToVector }

    /// - Parameters:
    ///   - featureMap: that of output and input.
    ///   - layer: the convolution's index for dropout; nil for no dropout.
    init(
        _ weight: Parameter, featureMap: FeatureMap, layer: Int?, precision: Precision = .float32,
        state: SharedNetworkState
    ) {
        self.weight = weight
        self.precision = precision
        self.state = state
        outputs = weight.shape[0]
        inputs = weight.count / outputs
        dropout = Dropout(
            probability: layer == nil ? 0 : state.configuration.dropout, layer: layer ?? 0, featureMap: featureMap)
        state.workspace.needs.reserve(pointwise: weight, lanes: featureMap.layout.lanes)
        state.workspace.needs.reserve(.activation, max(inputs, outputs) * featureMap.layout.lanes)
        if precision == .bfloat16 { state.workspace.needs.reserve(.gradientPairs, pairsCount(featureMap.layout)) }
        state.workspace.needs.reserve(weightGradient: inputs * gradientWidth, layout: featureMap.layout)
    }

    // MARK: Forward

    /// output = dropout(W·input); also sums the output where its batch statistics are taken.
    func forward(_ input: some ConvolutionInput, into output: ProducedChannels, _ pass: PassContext) {
        let product = PackedWeights(
            taps: 1, outputs: outputs, inputs: inputs, in: state.workspace.weights, precision: precision)
        product.packForward(weights)
        let format = precision == .float32 ? OperandFormat.float32 : .channelPairs
        forward(input, format, product, tapOffsets: state.workspace.noOffset.pointer, .pointwise, into: output, pass)
    }

    /// The stem's forward. Three rows of the kernel count as a tap, since a sum over a whole patch would lose more
    /// digits than any other step: seven sums of 21 products lose as few as 21 of seven.
    func forward(_ patches: ImagePatches, into output: ProducedChannels, _ pass: PassContext) {
        let taps = weight.shape[3]
        let length = inputs / taps
        let product = PackedWeights(taps: taps, outputs: outputs, inputs: length, in: state.workspace.weights)
        product.packPatches(weights)
        let tapOffsets = state.workspace.tapOffsets.pointer
        for tap in 0..<taps { tapOffsets[tap] = tap * length * output.layout.lanes }
        forward(patches, .float32, product, tapOffsets: tapOffsets, .stem, into: output, pass)
    }

    @inline(__always)
    private func forward(
        _ input: some ConvolutionInput, _ format: OperandFormat, _ product: PackedWeights,
        tapOffsets: UnsafePointer<Int>, _ phase: Phase, into output: ProducedChannels, _ pass: PassContext
    ) {
        let (lanes, isSummed) = (output.layout.lanes, output.isSummed(pass))
        state.workspace.forEachTask(of: output.featureMap) { task in
            let (worker, sums) = (task.worker, output.sums.begin(task: task.index, worker: task.worker.index))
            for group in task.groups {
                dropout.begin(group: group, worker, pass)
                for y in task.rows {
                    let row = output.row(group, y)
                    let place = row.place(orIn: worker.gradient)
                    worker.clock.enter(phase == .stem ? .stem : .norm)
                    let operand = input.operand(group, y, format, worker)
                    worker.clock.enter(phase)
                    product.convolve(
                        operand, stride: lanes, tapOffsets: tapOffsets, lanes: lanes, into: place, outputStride: lanes,
                        next: input.sourceAfter(group, y), nextCount: precision.elements(inputs * lanes))
                    worker.clock.enter(.norm)
                    dropout.apply(place, channels: outputs, stride: lanes, row: y, worker, pass)
                    row.store(place, channels: outputs, lanes: lanes, stride: lanes)
                    if isSummed { addSums(row, lanes: lanes, mask: output.featureMap.mask(group), to: sums) }
                }
                if isSummed { sums.flushValues() }
            }
        }
    }

    // MARK: Backward

    /// Computes the gradients of the input and of the weights.
    func backward(from output: ProducedChannels, to input: some DifferentiableInput, _ pass: PassContext) {
        let lanes = output.layout.lanes
        let product = transposedProduct()
        let noOffset = UnsafePointer(state.workspace.noOffset.pointer)
        let order = gradientOrder(output.featureMap)
        let sum = sumOfWeightGradients(output.featureMap, order) { task, weightGradient in
            let worker = task.worker
            let sums = input.beginGradient(task)
            for group in task.groups {
                dropout.begin(group: group, worker, pass)
                for y in task.rows {
                    let gradient = outputGradient(output, group, y, worker, pass)
                    let target = input.gradientTarget(group, y)
                    addWeightGradient(
                        input, group, y, .pointwise, gradient, lanes: lanes, order, to: weightGradient,
                        accumulate: group > task.groups.lowerBound || y > task.rows.lowerBound, next: target, worker)
                    let row = input.gradientRow(group, y, worker)
                    product.convolve(
                        factor(gradient, lanes: lanes, worker), stride: lanes, tapOffsets: noOffset, lanes: lanes,
                        into: row, outputStride: lanes, next: input.sourceAfter(group, y),
                        nextCount: precision.elements(inputs * lanes))
                    worker.clock.enter(.norm)
                    input.addGradient(row, group, y, to: sums)
                }
                input.endGroup(sums)
            }
        }
        writeWeightGradient(sum, order)
    }

    /// Computes the weight gradient only: images need no gradient.
    func backward(from output: ProducedChannels, to patches: ImagePatches, _ pass: PassContext) {
        let sum = sumOfWeightGradients(output.featureMap, .transposed) { task, weightGradient in
            for group in task.groups {
                for y in task.rows {
                    let gradient = outputGradient(output, group, y, task.worker, pass)
                    addWeightGradient(
                        patches, group, y, .stem, gradient, lanes: output.layout.lanes, .transposed, to: weightGradient,
                        accumulate: group > task.groups.lowerBound || y > task.rows.lowerBound, next: nil, task.worker)
                }
            }
        }
        writeWeightGradient(sum, .transposed)
    }

    /// ∂L/∂output of one row, before dropout, in the worker's `gradient`; in bfloat16 one number per lane.
    @inline(__always)
    private func outputGradient(
        _ output: ProducedChannels, _ group: Int, _ y: Int, _ worker: WorkerSpace, _ pass: PassContext
    ) -> PanelNumbers {
        let gradient = PanelNumbers(in: worker.gradient, precision)
        worker.clock.enter(.norm)
        output.writeGradient(
            group, y, before: dropout, into: gradient, stride: output.layout.lanes, worker, pass)
        return gradient
    }

    /// The output's gradient as a factor of the input's: in bfloat16 pairs of channels.
    @inline(__always)
    private func factor(_ gradient: PanelNumbers, lanes: Int, _ worker: WorkerSpace) -> UnsafePointer<Float> {
        guard gradient.precision == .bfloat16 else { return UnsafePointer(gradient.floats) }
        let pairs = worker.gradientPairs.pointer
        writeChannelPairs(
            gradient.bfloat16, stride: lanes, channels: outputs, lanes: lanes, into: pairs, pairsStride: lanes)
        return UnsafePointer(pairs)
    }

    private func pairsCount(_ layout: PanelLayout) -> Int { precision.elements(outputs) * layout.lanes }

    // MARK: The weights' gradient

    /// How the kernel writes the weights' gradient: a product of one operand with the transpose of the other.
    private enum GradientOrder {
        /// [inputs][outputs], from the transpose of the output's gradient.
        case transposed
        /// [outputs][inputs], as the weights are stored, from the transpose of the input.
        case stored
    }

    /// The order that takes less transposing: in small feature maps that of the weights themselves.
    private func gradientOrder(_ featureMap: FeatureMap) -> GradientOrder {
        let pixels = featureMap.groups * featureMap.layout.height * featureMap.layout.lanes
        let fitsVectors = inputs.roundedToVector == inputs
        let isLess = pixels * inputs < pixels * outputs + inputs * outputs
        return precision == .float32 && fitsVectors && isLess ? .stored : .transposed
    }

    /// The tasks' gradients, summed where the order has the sum.
    @inline(__always)
    private func sumOfWeightGradients(
        _ featureMap: FeatureMap, _ order: GradientOrder,
        _ body: (_ task: PassTask, _ gradient: UnsafeMutablePointer<Float>) -> Void
    ) -> UnsafeMutablePointer<Float> {
        let isStored = order == .stored
        return state.workspace.sumOfWeightGradients(
            of: featureMap, count: inputs * gradientWidth, used: isStored ? weight.count : nil,
            to: isStored ? state.gradients.pointer + weight.offset : nil, body)
    }

    /// Adds a row's part to a task's gradient, or starts it: Σ over the lanes of input · ∂L/∂output.
    @inline(__always)
    private func addWeightGradient(
        _ input: some ConvolutionInput, _ group: Int, _ y: Int, _ phase: Phase, _ gradient: PanelNumbers,
        lanes: Int, _ order: GradientOrder, to weightGradient: UnsafeMutablePointer<Float>,
        accumulate: Bool, next: UnsafePointer<Float>?, _ worker: WorkerSpace
    ) {
        let transposed = worker.transposed.pointer
        if order == .transposed {
            transposePanel(gradient, stride: lanes, channels: outputs, lanes: lanes, into: transposed)
        }
        let format = precision == .float32 ? OperandFormat.float32 : .bfloat16
        worker.clock.enter(phase == .stem ? .stem : .norm)
        let operand = input.operand(group, y, format, worker)
        worker.clock.enter(phase)
        switch (precision, order) {
        case (.float32, .transposed):
            Kernels.addWeightGradient(
                transposed: transposed, width: gradientWidth, transposedRow: 0, other: operand, otherStride: lanes,
                otherRow: 0, others: inputs, lanes: lanes, rows: 1, to: weightGradient,
                accumulate: accumulate, next: next, nextCount: inputs * lanes)
        case (.float32, .stored):
            let operand = PanelNumbers(UnsafeMutablePointer(mutating: operand))
            transposePanel(operand, stride: lanes, channels: inputs, lanes: lanes, into: transposed)
            Kernels.addWeightGradient(
                transposed: transposed, width: inputs, transposedRow: 0, other: gradient.floats, otherStride: lanes,
                otherRow: 0, others: outputs, lanes: lanes, rows: 1, to: weightGradient,
                accumulate: accumulate, next: next, nextCount: inputs * lanes)
        case (.bfloat16, _):
            Kernels.addWeightGradient(
                transposed: transposed, width: gradientWidth, transposedRow: 0,
                other: UnsafePointer(bfloat16Numbers(in: worker.activation)), otherStride: lanes, otherRow: 0,
                others: inputs, lanes: lanes, rows: 1, to: weightGradient, accumulate: accumulate, next: next,
                nextCount: precision.elements(inputs * lanes))
        }
    }

    /// Sees to it that the sum is in the flat gradient buffer.
    private func writeWeightGradient(_ sum: UnsafeMutablePointer<Float>, _ order: GradientOrder) {
        guard order == .transposed else { return }
        transposeMatrix(
            sum, rows: inputs, columns: outputs, fromStride: gradientWidth,
            to: state.gradients.pointer + weight.offset, toStride: inputs)
    }

    // MARK: Weights

    private var weights: UnsafeMutablePointer<Float> { state.parameters.pointer + weight.offset }

    /// The product with the transposed weights. In float32 it reads them as they lie in memory.
    private func transposedProduct() -> PackedWeights {
        switch precision {
        case .float32: PackedWeights(unpacked: weights, outputs: inputs, inputs: outputs)
        case .bfloat16:
            PackedWeights(pairsOf: weights, outputs: inputs, inputs: outputs, in: state.workspace.weights)
        }
    }
}
