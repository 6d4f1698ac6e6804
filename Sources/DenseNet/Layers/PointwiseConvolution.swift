import Kernels

/// A convolution of single pixels: a 1×1 convolution, or the stem's over patches of the image.
///
/// Forward also applies dropout and gathers the sums of the produced channels while a row is in the cache.
final class PointwiseConvolution {
    private let weight: Parameter
    private let inputs: Int
    private let outputs: Int
    private let precision: Precision
    private let dropout: Dropout
    private let state: NetworkState
    /// Floats from input to input in a gradient of the weights as the kernel leaves it.
    private var gradientWidth: Int { outputs.roundedToVector }

    /// - Parameters:
    ///   - featureMap: the output's, which is the input's too.
    ///   - layer: the convolution's number for dropout; nil where nothing is dropped.
    init(
        _ weight: Parameter, featureMap: FeatureMap, layer: Int?, precision: Precision = .float32, state: NetworkState
    ) {
        self.weight = weight
        self.precision = precision
        self.state = state
        outputs = weight.shape[0]
        inputs = weight.count / outputs
        dropout = Dropout(
            probability: layer == nil ? 0 : state.configuration.dropout, layer: layer ?? 0, featureMap: featureMap)
        state.workspace.needs.reserve(pointwise: weight, lanes: featureMap.layout.lanes)
        state.workspace.needs.reserve(.activation, inputs * featureMap.layout.lanes)
    }

    // MARK: Forward

    /// output = W·input, with dropout; in training also the sums of the output.
    func forward(_ input: some ConvolutionInput, into output: ProducedChannels, _ pass: PassContext) {
        let product = PackedWeights(
            taps: 1, outputs: outputs, inputs: inputs, in: state.workspace.weights, precision: precision)
        product.packForward(weights)
        let format = precision == .float32 ? OperandFormat.float32 : .channelPairs
        forward(input, format, product, tapOffsets: state.workspace.noOffset.pointer, .pointwise, into: output, pass)
    }

    /// The same of an image's patches, whose rows are taken as taps, so that no sum is longer than one of them: nothing
    /// else loses more digits.
    func forward(_ patches: ImagePatches, into output: ProducedChannels, _ pass: PassContext) {
        let kernel = weight.shape[3]
        let taps = inputs / kernel
        let product = PackedWeights(taps: taps, outputs: outputs, inputs: kernel, in: state.workspace.weights)
        product.packPatches(weights)
        let tapOffsets = state.workspace.tapOffsets.pointer
        for tap in 0..<taps { tapOffsets[tap] = tap * kernel * output.layout.lanes }
        forward(patches, .float32, product, tapOffsets: tapOffsets, .stem, into: output, pass)
    }

    @inline(__always)
    private func forward(
        _ input: some ConvolutionInput, _ format: OperandFormat, _ product: PackedWeights,
        tapOffsets: UnsafePointer<Int>, _ phase: Phase, into output: ProducedChannels, _ pass: PassContext
    ) {
        let lanes = output.layout.lanes
        state.workspace.forEachTask(of: output.featureMap) { task in
            let (worker, sums) = (task.worker, output.sums.begin(task: task.index, worker: task.worker.index))
            for group in task.groups {
                dropout.begin(group: group, worker, pass)
                for y in 0..<output.layout.height {
                    let row = output.row(group, y)
                    worker.clock.enter(phase == .stem ? .stem : .norm)
                    let operand = input.operand(group, y, format, worker)
                    worker.clock.enter(phase)
                    product.convolve(
                        operand, stride: lanes, tapOffsets: tapOffsets, lanes: lanes, into: row, outputStride: lanes,
                        next: input.sourceAfter(group, y), nextCount: inputs * lanes)
                    worker.clock.enter(phase == .stem ? .stem : .norm)
                    dropout.apply(row, channels: outputs, stride: lanes, row: y, worker, pass)
                    if pass.training { addSums(row, lanes: lanes, mask: output.featureMap.mask(group), to: sums) }
                }
                if pass.training { sums.flushValues() }
            }
        }
    }

    // MARK: Backward

    /// The gradients of the input and of the weights.
    func backward(from output: ProducedChannels, to input: some DifferentiableInput, _ pass: PassContext) {
        let lanes = output.layout.lanes
        let product = transposedProduct()
        let noOffset = UnsafePointer(state.workspace.noOffset.pointer)
        state.workspace.forEachTask(of: output.featureMap) { task in
            let worker = task.worker
            let weightGradient = state.workspace.weightGradient(task, count: inputs * gradientWidth)
            let sums = input.beginGradient(task)
            for group in task.groups {
                dropout.begin(group: group, worker, pass)
                for y in 0..<output.layout.height {
                    let gradient = outputGradient(output, group, y, .norm, worker, pass)
                    let target = input.gradientTarget(group, y)
                    addWeightGradient(
                        input, group, y, .pointwise, lanes: lanes, to: weightGradient, next: target, worker)
                    if precision == .bfloat16 {
                        writeChannelPairs(
                            gradient, stride: lanes, channels: outputs, lanes: lanes, into: gradient, pairsStride: lanes
                        )
                    }
                    let row = input.gradientRow(group, y, worker)
                    product.convolve(
                        gradient, stride: lanes, tapOffsets: noOffset, lanes: lanes, into: row, outputStride: lanes,
                        next: input.sourceAfter(group, y), nextCount: inputs * lanes)
                    worker.clock.enter(.norm)
                    input.addGradient(row, group, y, to: sums)
                }
                input.endGroup(sums)
            }
        }
        writeWeightGradient(output.featureMap)
    }

    /// The gradient of the weights alone: images need none.
    func backward(from output: ProducedChannels, to patches: ImagePatches, _ pass: PassContext) {
        state.workspace.forEachTask(of: output.featureMap) { task in
            let weightGradient = state.workspace.weightGradient(task, count: inputs * gradientWidth)
            for group in task.groups {
                for y in 0..<output.layout.height {
                    _ = outputGradient(output, group, y, .stem, task.worker, pass)
                    addWeightGradient(
                        patches, group, y, .stem, lanes: output.layout.lanes, to: weightGradient, next: nil,
                        task.worker)
                }
            }
        }
        writeWeightGradient(output.featureMap)
    }

    /// ∂L/∂output of one row, before dropout: in the worker's `gradient`, and transposed in its `transposed`.
    @inline(__always)
    private func outputGradient(
        _ output: ProducedChannels, _ group: Int, _ y: Int, _ phase: Phase, _ worker: WorkerSpace, _ pass: PassContext
    ) -> UnsafeMutablePointer<Float> {
        let lanes = output.layout.lanes
        let gradient = worker.gradient.pointer
        worker.clock.enter(phase)
        output.writeInputGradient(group, y, into: gradient, stride: lanes)
        dropout.apply(gradient, channels: outputs, stride: lanes, row: y, worker, pass)
        transposePanel(
            gradient, stride: lanes, channels: outputs, lanes: lanes, into: worker.transposed.pointer,
            precision: precision)
        return gradient
    }

    /// weightGradient[input][output] += Σ over the lanes of one row of input · ∂L/∂output.
    @inline(__always)
    private func addWeightGradient(
        _ input: some ConvolutionInput, _ group: Int, _ y: Int, _ phase: Phase, lanes: Int,
        to weightGradient: UnsafeMutablePointer<Float>, next: UnsafePointer<Float>?, _ worker: WorkerSpace
    ) {
        let format = precision == .float32 ? OperandFormat.float32 : .bfloat16
        let operand = input.operand(group, y, format, worker)
        worker.clock.enter(phase)
        switch precision {
        case .float32:
            Kernels.addWeightGradient(
                transposed: worker.transposed.pointer, width: gradientWidth, transposedRow: 0, other: operand,
                otherStride: lanes, otherRow: 0, others: inputs, lanes: lanes, rows: 1, to: weightGradient, next: next,
                nextCount: inputs * lanes)
        case .bfloat16:
            Kernels.addWeightGradient(
                transposed: worker.transposed.pointer, width: gradientWidth, transposedRow: 0,
                other: UnsafePointer(bfloat16Numbers(in: worker.activation)), otherStride: lanes, otherRow: 0,
                others: inputs,
                lanes: lanes, rows: 1, to: weightGradient, next: next, nextCount: inputs * lanes)
        }
    }

    /// Adds up the tasks' gradients and writes them into the flat buffer.
    private func writeWeightGradient(_ featureMap: FeatureMap) {
        let sum = state.workspace.sumOfWeightGradients(featureMap, count: inputs * gradientWidth)
        transposeMatrix(
            sum, rows: inputs, columns: outputs, fromStride: gradientWidth,
            to: state.gradients.pointer + weight.offset, toStride: inputs)
    }

    // MARK: Weights

    private var weights: UnsafeMutablePointer<Float> { state.parameters.pointer + weight.offset }

    /// The product with the transposed weights. They lie in memory as it reads them, but in bfloat16.
    private func transposedProduct() -> PackedWeights {
        switch precision {
        case .float32: PackedWeights(unpacked: weights, outputs: inputs, inputs: outputs)
        case .bfloat16:
            PackedWeights(pairsOf: weights, outputs: inputs, inputs: outputs, in: state.workspace.weights)
        }
    }
}
