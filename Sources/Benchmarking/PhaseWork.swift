import DenseNetModel
import Kernels

/// What the phases of a step do for one image: operations of the matrix products, and the bytes that must pass memory
/// at least once when nothing stays in cache between one pass over a stage and the next.
struct PhaseWork {
    private var forwardOperations = [Phase: Double]()
    private var forwardBytes = [Phase: Double]()
    private var backwardBytes = [Phase: Double]()

    init(_ network: DenseNetConfiguration) {
        let table = ParameterTable(network)
        func operations(_ weight: Parameter, size: Int) -> Double { 2 * Double(weight.count) * Double(size * size) }
        forwardOperations[.stem] = operations(table.stemConvolution, size: network.stemConvolutionSize)
        for (b, size) in network.blockSizes.enumerated() {
            /// Bytes of so many channels.
            func channels(_ count: Int) -> Double { 4 * Double(count * size * size) }
            let k = network.growthRate
            for layer in table.blocks[b] {
                let inputs = layer.norm1.channels
                if let conv2 = layer.conv2 {
                    let reduced = layer.conv1.shape[0]
                    forwardOperations[.pointwise, default: 0] += operations(layer.conv1, size: size)
                    forwardOperations[.spatial, default: 0] += operations(conv2, size: size)
                    // The input is read; the bottleneck's output written by the product and read again.
                    forwardBytes[.norm, default: 0] += channels(inputs + reduced)
                    forwardBytes[.pointwise, default: 0] += channels(reduced)
                    forwardBytes[.spatial, default: 0] += channels(k)
                    // G and x of the new channels; the bottleneck's output and gradient for the mask, for the
                    // transposed activation, for the norm's backward; the input, and G read and written.
                    backwardBytes[.norm, default: 0] += channels(
                        2 * k + 2 * reduced + reduced + 2 * reduced + 3 * inputs)
                    backwardBytes[.spatial, default: 0] += channels(reduced)
                } else {
                    forwardOperations[.spatial, default: 0] += operations(layer.conv1, size: size)
                    forwardBytes[.norm, default: 0] += channels(inputs)
                    forwardBytes[.spatial, default: 0] += channels(k)
                    backwardBytes[.norm, default: 0] += channels(2 * k + 4 * inputs)
                }
            }
            if b < table.transitions.count {
                forwardOperations[.pointwise, default: 0] += operations(
                    table.transitions[b].conv, size: network.blockSizes[b + 1])
                forwardBytes[.pool, default: 0] += channels(network.blockChannels[b]) * 1.25
                backwardBytes[.norm, default: 0] += channels(network.blockChannels[b]) * 2
                backwardBytes[.pool, default: 0] += channels(network.blockChannels[b]) * 0.25
            }
        }
    }

    func forwardOperations(_ phase: Phase) -> Double { forwardOperations[phase] ?? 0 }

    /// Twice forward's; the stem has no gradient of its input.
    func backwardOperations(_ phase: Phase) -> Double { forwardOperations(phase) * (phase == .stem ? 1 : 2) }

    func forwardBytes(_ phase: Phase) -> Double { forwardBytes[phase] ?? 0 }

    func backwardBytes(_ phase: Phase) -> Double { backwardBytes[phase] ?? 0 }

    /// All operations that an image takes here.
    func operations(evaluates: Bool) -> Double {
        forwardOperations.reduce(0) { $0 + $1.value + (evaluates ? 0 : backwardOperations($1.key)) }
    }
}
