import Kernels
import Support

/// What shares a host's memory with a network, of which `DenseNet` cannot know.
package struct MemoryCompany: Sendable {
    /// The ranks of the host, with a network like this one each.
    let ranks: Int
    /// Batches of images, as large as the network's largest, that its owner keeps.
    let batches: Int
    /// Copies of all parameters that its owner keeps.
    let copies: Int
    /// Threads that its owner is going to start.
    let threads: Int

    package init(ranks: Int = 1, batches: Int = 0, copies: Int = 0, threads: Int = 0) {
        (self.ranks, self.batches, self.copies, self.threads) = (ranks, batches, copies, threads)
    }

    /// Refuses a network that, with its company, finds no memory.
    ///
    /// - Throws: `Failure(.unavailable)`.
    func demandMemory(_ configuration: DenseNetConfiguration, images: Int, training: Bool, threads: Int) throws {
        let float = Double(MemoryLayout<Float>.stride)
        let pixels = 3 * Double(configuration.image * configuration.image)
        let beside =
            float
            * (Double(batches * images) * pixels + Double(copies) * Double(ParameterTable.count(configuration).learnt))
        let company = OpenBLAS.bufferBytes + (threads - 1 + self.threads) * threadStackBytes
        func demand(_ bytes: Double, addressSpace: Int?) throws {
            // Evaluation has no gradients and one bottleneck at a time.
            try Support.demandMemory(
                bytes / (training ? 1 : 4) + beside, addressSpace: addressSpace.map { $0 + company }, ranks: ranks,
                who: images == 1 ? "1 image a rank needs" : "\(images) images a rank need",
                advice: "use a smaller --batch-size or more nodes")
        }
        // First what is too much to be counted in whole numbers, or to lay out a table for.
        try demand(TrainingMemory.leastBytes(configuration, images: images), addressSpace: nil)
        let memory = TrainingMemory(configuration, ParameterTable(configuration), images: images, threads: threads)
        try demand(Double(memory.total), addressSpace: memory.alignment)
    }
}
