import Kernels
import Support

/// What shares a host's memory with a network and is allocated by the network's owner.
public struct MemoryOverhead: Sendable {
    /// The ranks of the host, with a network like this one each.
    let ranks: Int
    /// Batches of images, as large as the network's largest.
    let batches: Int
    /// Copies of all parameters.
    let copies: Int
    /// Threads that are still to be started.
    let threads: Int

    /// - Parameters:
    ///   - ranks: the ranks of the host, with a network like this one each.
    ///   - batches: batches of images, each as large as the network's `capacity`.
    ///   - copies: copies of all parameters.
    ///   - threads: threads that are started later, beside the network's own.
    public init(ranks: Int = 1, batches: Int = 0, copies: Int = 0, threads: Int = 0) {
        (self.ranks, self.batches, self.copies, self.threads) = (ranks, batches, copies, threads)
    }

    /// Refuses a network that would not fit the host's memory.
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
            try demandMemory(
                bytes + batches + copies, addressSpace: addressSpace.map { $0 + reserved }, ranks: ranks,
                who: images == 1 ? "1 image a rank needs" : "\(images) images a rank need",
                advice: "use a smaller `batchSize` or more nodes")
        }
        // First what is too much to be counted in whole numbers, or to lay out a table for.
        try require(
            TrainingMemory.leastBytes(configuration, images: images, training: training), addressSpace: nil)
        let memory = TrainingMemory(
            configuration, images: images, training: training, threads: threads, precision: precision)
        try require(Double(memory.total), addressSpace: memory.alignment + self.copies * hugePage)
    }
}
