import DenseNetModel
import Kernels

/// The cost of each phase of a step for one image: operations of the matrix products, and the bytes that must be moved
/// if nothing stays in cache between one pass over a feature map and the next.
struct PhaseCosts {
    private var forwardOperations = [Phase: Double]()
    private var forwardBytes = [Phase: Double]()
    private var backwardBytes = [Phase: Double]()

    /// Bytes of a number in a dense block.
    private let stored: Double

    init(_ network: DenseNetConfiguration, _ precision: Precision) {
        stored = precision == .float32 ? 4 : 2
        var blockInput = 0
        for convolution in ParameterTable(network).convolutions {
            let pixels = convolution.computedSize * convolution.computedSize
            forwardOperations[convolution.phase, default: 0] += 2 * Double(convolution.weight.count * pixels)
            if network.stem == .imagenet && convolution.kind == .stem { addBytesOfStemPool(convolution) }
            addBytes(convolution, hasBottleneck: network.bottleneck, blockInput: blockInput)
            blockInput = convolution.inputs
        }
    }

    /// - Parameter blockInput: input channels of the bottleneck's 1×1 convolution that precedes this one.
    private mutating func addBytes(_ convolution: Convolution, hasBottleneck: Bool, blockInput: Int) {
        let size = convolution.size
        /// Bytes of `count` channels.
        func channels(_ count: Int) -> Double { stored * Double(count * size * size) }
        let (inputs, outputs) = (convolution.inputs, convolution.outputs)
        switch convolution.kind {
        case .stem: break
        case .pointwise:
            // The input is read; the bottleneck's output is written by the product and read again.
            forwardBytes[.norm, default: 0] += channels(inputs + outputs)
            forwardBytes[.pointwise, default: 0] += channels(outputs)
        case .growth where hasBottleneck:
            forwardBytes[.spatial, default: 0] += channels(outputs)
            // G and x of the new channels; the bottleneck's output and gradient for the mask, the transposed activation
            // and the norm's backward; the block's input; G, read and written.
            backwardBytes[.norm, default: 0] += channels(
                2 * outputs + 2 * inputs + inputs + 2 * inputs + 3 * blockInput)
            backwardBytes[.spatial, default: 0] += channels(inputs)
        case .growth:
            forwardBytes[.norm, default: 0] += channels(inputs)
            forwardBytes[.spatial, default: 0] += channels(outputs)
            backwardBytes[.norm, default: 0] += channels(2 * outputs + 4 * inputs)
        case .transition:
            // What is pooled, a quarter of the pixels, is float32.
            let pooled = 4 * Double(inputs * size * size) / 4
            forwardBytes[.pool, default: 0] += channels(inputs) + pooled
            backwardBytes[.norm, default: 0] += channels(inputs) * 2
            backwardBytes[.pool, default: 0] += pooled
        }
    }

    /// The norm and the max pool after an ImageNet stem's convolution.
    private mutating func addBytesOfStemPool(_ convolution: Convolution) {
        let pixels = convolution.computedSize * convolution.computedSize
        let output = 4 * Double(convolution.outputs * pixels)
        let pooled = stored * Double(convolution.outputs * pixels) / 4
        forwardBytes[.pool, default: 0] += output + pooled
        // G and x of the pooled channels, a quarter of the pixels, and the gradient written in place of G; the
        // convolution's output and its gradient for the norm's backward.
        backwardBytes[.norm, default: 0] += 3 * pooled + 2 * output
        backwardBytes[.pool, default: 0] += pooled + 2 * output
    }

    func forwardOperations(_ phase: Phase) -> Double { forwardOperations[phase] ?? 0 }

    /// Twice forward's, except that the stem has no input gradient.
    func backwardOperations(_ phase: Phase) -> Double { forwardOperations(phase) * (phase == .stem ? 1 : 2) }

    func forwardBytes(_ phase: Phase) -> Double { forwardBytes[phase] ?? 0 }

    func backwardBytes(_ phase: Phase) -> Double { backwardBytes[phase] ?? 0 }

    /// All operations for one image.
    func operations(evaluates: Bool) -> Double {
        forwardOperations.reduce(0) { $0 + $1.value + (evaluates ? 0 : backwardOperations($1.key)) }
    }
}

extension Convolution {
    /// The phase that its products belong to.
    fileprivate var phase: Phase {
        switch kind {
        case .stem: .stem
        case .pointwise, .transition: .pointwise
        case .growth: .spatial
        }
    }
}
