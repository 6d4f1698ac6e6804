import Kernels
import Support

/// Bytes that one rank allocates before its first step: the network's buffers and, in training, the optimizer's.
///
/// Measured by building the network without allocating (`BufferPlan`). Excludes the data loader and MPI.
package struct TrainingMemory: Sendable, Equatable {
    /// The blocks' raw features and the gradients of the normalized features.
    package let features: Int
    /// The outputs of all bottlenecks' 1×1 convolutions, and one gradient per block.
    package let bottlenecks: Int
    /// The transitions' pooled activations.
    package let pooled: Int
    /// The ImageNet stem's output and its gradient.
    package let stem: Int
    /// Logits and pooled features with their gradients.
    package let head: Int
    /// The trainable parameters.
    package let parameters: Int
    /// Their gradients.
    package let gradients: Int
    package let momentumBuffer: Int
    package let runningStatistics: Int
    /// The sum of the gradients of a step's groups of images, and their statistics.
    package let groups: Int
    /// All of these and `workspace`.
    package let total: Int
    /// Address space, not memory, needed to align large buffers to huge pages.
    let alignment: Int

    /// What grows with the batch.
    package var activations: Int { features + bottlenecks + pooled + stem + head }

    /// What a network allocates that shares the flat buffers of another.
    var dependingOnImages: Int { activations + workspace }

    /// The buffers that layers share, and sums, statistics and affine functions per channel.
    package var workspace: Int {
        total - activations - parameters - gradients - momentumBuffer - runningStatistics - groups
    }

    /// - Parameters:
    ///   - images: this rank's maximum number of images per pass.
    ///   - hasGroups: whether these are one of several groups with batch statistics of their own.
    init(
        _ configuration: DenseNetConfiguration, images: Int, training: Bool, threads: Int, precision: Precision,
        hasGroups: Bool = false
    ) {
        let ((parts, momentumBuffer, groups), plan) = BufferPlan.counting {
            let parts = NetworkParts(
                configuration, images: images, training: training, threads: threads, precision: precision)
            let groups = hasGroups ? ImageGroups.buffers(parts.state.table, areSeveral: true) : nil
            return (parts, AlignedBuffer<Float>(count: parts.state.gradients.count), groups)
        }
        features = parts.blocks.reduce(0) { $0 + $1.values.byteCount + $1.gradients.byteCount }
        bottlenecks = parts.bottlenecks.reduce(0) { $0 + $1.byteCount }
        pooled = parts.transitions.reduce(0) { $0 + $1.pooled.byteCount }
        stem = parts.stem.produced.dropLast().reduce(0) { $0 + $1.values.byteCount + $1.gradients.byteCount }
        head = parts.head.byteCount
        parameters = parts.state.parameters.byteCount
        gradients = parts.state.gradients.byteCount
        self.momentumBuffer = momentumBuffer.byteCount
        runningStatistics = parts.state.runningStatistics.byteCount
        self.groups = groups.map { $0.gradientsBefore.byteCount + $0.gains.byteCount } ?? 0
        total = plan.bytes
        alignment = plan.hugeBuffers * hugePage
    }

    /// A lower bound: the bytes of features and parameters alone. A `Double`, since some valid configurations exceed
    /// `Int`.
    static func minimumBytes(
        _ configuration: DenseNetConfiguration, images: Int, training: Bool, precision: Precision
    ) -> Double {
        let parameters = (training ? 3 : 1) * Double(configuration.parameterCount)
        var features = 0.0
        for (size, channels) in zip(configuration.blockSizes, configuration.blockChannels) {
            features += Double(images) * Double(size * size) * Double(channels) * (training ? 2 : 1)
        }
        return 4 * parameters + (precision == .float32 ? 4 : 2) * features
    }
}
