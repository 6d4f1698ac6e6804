import Kernels

/// The element format of a product's operand.
enum OperandFormat {
    case float32
    /// bfloat16 pairs of channels, for a product that sums over channels.
    case channelPairs
    /// bfloat16, one number per lane, for a product that sums over pixels.
    case bfloat16
}

/// The input of a convolution, read one row of a group of images at a time.
protocol ConvolutionInput {
    var channels: Int { get }
    /// Row `y` of a group: shape [channels][lanes]. May use the worker's `activation`; valid until the next call.
    func operand(_ group: Int, _ y: Int, _ format: OperandFormat, _ worker: WorkerSpace) -> UnsafePointer<Float>
    /// The memory that `operand` will read for the row after `y`, for prefetching; nil after the last row.
    func sourceAfter(_ group: Int, _ y: Int) -> UnsafePointer<Float>?
}

/// A convolution's input that accepts its gradient, one row at a time.
protocol DifferentiableInput: ConvolutionInput {
    associatedtype GradientSums
    /// The zeroed sums of one task.
    func beginGradient(_ task: PassTask) -> GradientSums
    /// Where to write the gradient of input row `y`: shape [channels][lanes]. Several rows may be written consecutively
    /// before they are added.
    func gradientRow(_ group: Int, _ y: Int, _ worker: WorkerSpace) -> UnsafeMutablePointer<Float>
    /// Processes a row written to `gradientRow`.
    func addGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: GradientSums)
    /// The memory that `addGradient` will add to, for prefetching.
    func gradientTarget(_ group: Int, _ y: Int) -> UnsafePointer<Float>?
    /// Called after all rows of a group.
    func endGroup(_ sums: GradientSums)
}

/// A convolution's input that follows a batch norm and ReLU: max(0, scale·x + shift), computed while a row is copied
/// for the product and never stored.
protocol NormalizedInput: DifferentiableInput where GradientSums == PartialSums {
    var featureMap: FeatureMap { get }
    /// The raw channels, x.
    var values: Panels { get }
    var affine: ChannelAffine { get }
}

extension NormalizedInput {
    @inline(__always)
    func operand(_ group: Int, _ y: Int, _ format: OperandFormat, _ worker: WorkerSpace) -> UnsafePointer<Float> {
        let lanes = featureMap.layout.lanes
        let row = worker.activation.pointer
        let input = values.numbers(group, y)
        switch format {
        case .float32, .channelPairs:
            precondition((format == .float32) == (input.precision == .float32), "the input is of another type")
            affine.reluPanel(input, lanes: lanes, valid: lanes, into: row, outputStride: lanes)
        case .bfloat16:
            affine.reluPanel(
                input.bfloat16, lanes: lanes, valid: lanes, into: bfloat16Numbers(in: worker.activation))
        }
        return UnsafePointer(row)
    }

    func sourceAfter(_ group: Int, _ y: Int) -> UnsafePointer<Float>? { featureMap.panelAfter(group, y, in: values) }

    func endGroup(_ sums: PartialSums) { sums.flushGradients() }
}

/// Panels that are a convolution's input as they are; the input's gradient overwrites them.
struct PlainInput: DifferentiableInput {
    let panels: Panels
    let featureMap: FeatureMap
    var channels: Int { panels.channels }

    func operand(_ group: Int, _ y: Int, _ format: OperandFormat, _ worker: WorkerSpace) -> UnsafePointer<Float> {
        precondition(format == .float32, "only dense layers multiply in bfloat16")
        return UnsafePointer(panels.panel(group, y))
    }

    func sourceAfter(_ group: Int, _ y: Int) -> UnsafePointer<Float>? { featureMap.panelAfter(group, y, in: panels) }
    func beginGradient(_ task: PassTask) {}
    func gradientRow(_ group: Int, _ y: Int, _ worker: WorkerSpace) -> UnsafeMutablePointer<Float> {
        panels.panel(group, y)
    }
    func addGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: Void) {}
    func gradientTarget(_ group: Int, _ y: Int) -> UnsafePointer<Float>? { nil }
    func endGroup(_ sums: Void) {}
}

extension FeatureMap {
    /// The panel after row `y` of a group, in the order of a pass; nil after the last.
    func panelAfter(_ group: Int, _ y: Int, in panels: Panels) -> UnsafePointer<Float>? {
        if y + 1 < layout.height { return panels.numbers(group, y + 1).memory }
        return group + 1 < groups ? panels.numbers(group + 1, 0).memory : nil
    }
}
