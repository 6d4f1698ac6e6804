import Kernels
import Support

/// What the owner of a network allocates beside it, for the memory check before the network is built.
public struct MemoryOverhead: Sendable {
    let ranks: Int
    let batches: Int
    let copies: Int
    let threads: Int

    /// - Parameters:
    ///   - ranks: ranks on this host, each with such a network.
    ///   - batches: buffers for batches of the network's capacity.
    ///   - copies: copies of all parameters.
    ///   - threads: threads yet to be started, beside the network's own.
    public init(ranks: Int = 1, batches: Int = 0, copies: Int = 0, threads: Int = 0) {
        (self.ranks, self.batches, self.copies, self.threads) = (ranks, batches, copies, threads)
    }

    /// Checks that a network fits in the host's memory.
    ///
    /// - Throws: `Failure(.unavailable)`.
    func requireMemory(
        _ configuration: DenseNetConfiguration, images: Int, training: Bool, threads: Int, precision: Precision
    ) throws {
        let float = Double(MemoryLayout<Float>.stride)
        let pixels = 3 * Double(configuration.image * configuration.image)
        let batches = float * Double(batches * images) * pixels
        let copies = float * Double(copies) * Double(configuration.parameterCount)
        let reserved = OpenBLAS.bufferBytes + (threads - 1 + self.threads) * threadStackBytes
        func require(_ bytes: Double, addressSpace: Int?) throws {
            try Support.requireMemory(
                bytes + batches + copies, addressSpace: addressSpace.map { $0 + reserved }, ranks: ranks,
                who: images == 1 ? "1 image per rank needs" : "\(images) images per rank need",
                advice: "use a smaller `batchSize` or more nodes")
        }
        // First reject what would overflow `Int`, or need too large a table.
        try require(
            TrainingMemory.minimumBytes(configuration, images: images, training: training, precision: precision),
            addressSpace: nil)
        let memory = TrainingMemory(
            configuration, images: images, training: training, threads: threads, precision: precision)
        try require(Double(memory.total), addressSpace: memory.alignment + self.copies * hugePage)
    }
}
