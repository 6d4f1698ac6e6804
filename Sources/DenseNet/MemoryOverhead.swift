import Kernels
import Support

/// What the owner of a network allocates beside it, for the memory check before the network is built.
public struct MemoryOverhead: Sendable {
    let ranks: Int
    let batches: Int
    let copies: Int
    let threads: Int
    let imageSizes: [Int]
    let testImage: Int?

    /// - Parameters:
    ///   - ranks: ranks on this host, each with such a network.
    ///   - batches: buffers for batches of the network's capacity.
    ///   - copies: copies of all parameters.
    ///   - threads: threads yet to be started, beside the network's own.
    ///   - imageSizes: the sizes that images in training have in turn, beside the configuration's.
    ///   - testImage: the size of images in evaluation; nil for the configuration's. Where those in training have
    ///     another, there is a second network, for evaluation.
    public init(
        ranks: Int = 1, batches: Int = 0, copies: Int = 0, threads: Int = 0, imageSizes: [Int] = [],
        testImage: Int? = nil
    ) {
        (self.ranks, self.batches, self.copies, self.threads) = (ranks, batches, copies, threads)
        (self.imageSizes, self.testImage) = (imageSizes, testImage)
    }

    /// Checks that a network fits in the host's memory.
    ///
    /// - Throws: `Failure(.unavailable)`.
    func requireMemory(
        _ configuration: DenseNetConfiguration, images: Int, training: Bool, threads: Int, precision: Precision
    ) throws {
        let float = Double(MemoryLayout<Float>.stride)
        let sizes = Set(imageSizes + [configuration.image]).sorted(by: >)
        let testSize = testImage ?? configuration.image
        let largest = max(sizes[0], testSize)
        let hasSecond = sizes.contains { $0 != testSize }
        let pixels = Double(configuration.imageChannels) * Double(largest * largest)
        let batches = float * Double(batches * images) * pixels
        let copies = float * Double(copies) * Double(configuration.parameterCount)
        let ownThreads = (hasSecond ? 2 : 1) * (threads - 1)
        let reserved = OpenBLAS.bufferBytes + (ownThreads + self.threads) * threadStackBytes
        func require(_ bytes: Double, addressSpace: Int?) throws {
            try Support.requireMemory(
                bytes + batches + copies, addressSpace: addressSpace.map { $0 + reserved }, ranks: ranks,
                who: images == 1 ? "1 image per rank needs" : "\(images) images per rank need",
                advice: "use a smaller `batchSize` or more nodes")
        }
        // First reject what would overflow `Int`, or need too large a table.
        for size in sizes + [testSize] {
            let shape = configuration.withImages(of: size)
            try require(
                TrainingMemory.minimumBytes(shape, images: images, training: training, precision: precision),
                addressSpace: nil)
        }
        func memory(_ size: Int, training: Bool) -> TrainingMemory {
            TrainingMemory(
                configuration.withImages(of: size), images: images, training: training, threads: threads,
                precision: precision)
        }
        let evaluating = hasSecond ? memory(testSize, training: false) : nil
        for size in sizes {
            let training = memory(size, training: training)
            let beside = size == testSize ? nil : evaluating
            try require(
                Double(training.total + (beside?.dependingOnImages ?? 0)),
                addressSpace: training.alignment + (beside?.alignment ?? 0) + self.copies * hugePage)
        }
    }
}
