import Kernels

/// How a product reads an operand's elements.
enum OperandFormat {
    case float32
    /// bfloat16, as pairs of channels: what a product that sums over channels reads.
    case channelPairs
    /// bfloat16, one number per lane: what a product that sums over pixels reads.
    case bfloat16
}

/// What a convolution reads, one row of a group of images at a time.
protocol ConvolutionInput {
    var channels: Int { get }
    /// Row `y` of a group: shape [channels][lanes]. It may stand in the worker's `activation` and is valid until the
    /// next one is asked for.
    func operand(_ group: Int, _ y: Int, _ format: OperandFormat, _ worker: WorkerSpace) -> UnsafePointer<Float>
    /// The memory that `operand` reads for the row after `y`, to be prefetched; nil after the last one.
    func sourceAfter(_ group: Int, _ y: Int) -> UnsafePointer<Float>?
}

/// A convolution's input that takes the gradient, one row at a time.
protocol DifferentiableInput: ConvolutionInput {
    associatedtype GradientSums
    /// The empty sums of one task.
    func beginGradient(_ task: PassTask) -> GradientSums
    /// Where the gradient of the input's row `y` is to be written: shape [channels][lanes]. Whoever writes several rows
    /// before they are added puts them one behind the other.
    func gradientRow(_ group: Int, _ y: Int, _ worker: WorkerSpace) -> UnsafeMutablePointer<Float>
    /// Takes a row that was written there.
    func addGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: GradientSums)
    /// The memory that `addGradient` adds to, to be prefetched.
    func gradientTarget(_ group: Int, _ y: Int) -> UnsafePointer<Float>?
    /// All rows of a group are added.
    func endGroup(_ sums: GradientSums)
}

/// The input of a convolution behind a batch norm and its ReLU: max(0, scale·x + shift), computed while a row is copied
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
        switch format {
        case .float32, .channelPairs:
            affine.reluPanel(
                values.panel(group, y), lanes: lanes, valid: lanes, into: row, outputStride: lanes,
                precision: format == .float32 ? .float32 : .bfloat16)
        case .bfloat16:
            affine.reluPanel(values.panel(group, y), lanes: lanes, into: bfloat16Numbers(in: worker.activation))
        }
        return UnsafePointer(row)
    }

    func sourceAfter(_ group: Int, _ y: Int) -> UnsafePointer<Float>? { featureMap.panelAfter(group, y, in: values) }

    func endGroup(_ sums: PartialSums) { sums.flushGradients() }
}

/// Panels that are a convolution's input as they stand; the input's gradient takes their place.
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
    /// The panel after row `y` of a group, in the order in which passes go through them; nil after the last.
    func panelAfter(_ group: Int, _ y: Int, in panels: Panels) -> UnsafePointer<Float>? {
        if y + 1 < layout.height { return UnsafePointer(panels.panel(group, y + 1)) }
        return group + 1 < groups ? UnsafePointer(panels.panel(group + 1, 0)) : nil
    }
}
