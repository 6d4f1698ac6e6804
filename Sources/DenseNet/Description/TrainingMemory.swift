import Kernels
import Support

/// What one rank allocates before its first step, in bytes: the buffers of the network and, to train, the optimizer's.
///
/// Counted by building the network without its memory (`BufferPlan`). The data loader and MPI have their own memory.
package struct TrainingMemory: Sendable, Equatable {
    /// The blocks' raw features and the gradients of their normalised features.
    package let features: Int
    /// The 1×1 convolutions' outputs of all dense layers, and one gradient per block.
    package let bottlenecks: Int
    /// The transitions' pooled activations.
    package let pooled: Int
    /// The ImageNet stem's output and its gradient.
    package let stem: Int
    /// Logits and pooled features with their gradients.
    package let head: Int
    /// All trainable numbers.
    package let parameters: Int
    /// Their gradients.
    package let gradients: Int
    /// Their momenta, which the optimizer has.
    package let momenta: Int
    /// Running means and variances.
    package let runningStatistics: Int
    /// All of these, and what the layers use in turn, and sums, statistics and affine functions per channel.
    package let total: Int
    /// Address space, no memory, that it takes to have the large buffers begin at whole huge pages.
    let alignment: Int

    /// What grows with the batch.
    package var activations: Int { features + bottlenecks + pooled + stem + head }

    /// What the layers use in turn, and what they have per channel.
    package var workspace: Int { total - activations - parameters - gradients - momenta - runningStatistics }

    /// - Parameter images: of the largest pass of this rank.
    init(
        _ configuration: DenseNetConfiguration, images: Int, training: Bool, threads: Int, precision: Precision
    ) {
        let ((parts, momenta), plan) = BufferPlan.counting {
            let parts = NetworkParts(
                configuration, images: images, training: training, threads: threads, precision: precision)
            return (parts, AlignedBuffer<Float>(count: parts.state.gradients.count))
        }
        features = parts.blocks.reduce(0) { $0 + $1.values.byteCount + $1.gradients.byteCount }
        bottlenecks = parts.bottlenecks.reduce(0) { $0 + $1.byteCount }
        pooled = parts.transitions.reduce(0) { $0 + $1.pooled.byteCount }
        stem = parts.stem.produced.dropLast().reduce(0) { $0 + $1.values.byteCount + $1.gradients.byteCount }
        head = parts.head.byteCount
        parameters = parts.state.parameters.byteCount
        gradients = parts.state.gradients.byteCount
        self.momenta = momenta.byteCount
        runningStatistics = parts.state.statistics.byteCount
        total = plan.bytes
        alignment = plan.hugeBuffers * hugePage
    }

    /// The bytes of features and parameters alone, which any configuration can be asked for: `Int` would not hold those
    /// of some.
    static func leastBytes(_ configuration: DenseNetConfiguration, images: Int, training: Bool) -> Double {
        var floats = (training ? 3 : 1) * Double(configuration.parameterCount)
        for (size, channels) in zip(configuration.blockSizes, configuration.blockChannels) {
            floats += Double(images) * Double(size * size) * Double(channels) * (training ? 2 : 1)
        }
        return floats * Double(MemoryLayout<Float>.stride)
    }
}
