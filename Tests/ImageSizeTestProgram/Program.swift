import AllocationCounter
import DataParallel
import DenseNetModel
@preconcurrency import Glibc
import ImageData
import Pictures
import Support
import Training

/// Trains one network over all ranks on images of three sizes in turn, and for each size a network of its own that is
/// made for it, on images resized beforehand. Exit code 0 means that both have the same weights, statistics and momenta
/// after every step, bit for bit. A single rank, for which MPI allocates nothing, prints how often the first network's
/// steps allocated memory.
@main
struct Program {
    static func main() {
        exit(
            MPIEnvironment.run(report: { fputs("\($0)\n", stderr) }) { world in
                for network in networks { try compare(network, world) }
            })
    }

    private static let schedule = ImageSchedule("9:2,13:1,17")!
    private static let size = 17
    private static let epochs = 4

    private static let networks = [
        DenseNetConfiguration(
            stem: .cifar, blocks: [2, 2], growthRate: 5, stemChannels: 7, bottleneck: true, compression: 0.5,
            dropout: 0.1, classes: 10, image: size),
        DenseNetConfiguration(
            stem: .imagenet, blocks: [1, 2], growthRate: 4, stemChannels: 8, bottleneck: false, compression: 1,
            classes: 10, image: size),
    ]

    private static func compare(_ configuration: DenseNetConfiguration, _ world: Communicator) throws {
        let images = ImageSet.synthetic(count: 22, seed: 1, split: .train, imageSize: size)
        // The last batch of an epoch has 6 images.
        let sampler = try Sampler(
            sampleCount: images.count, globalBatch: 8, worldSize: world.size, seed: 1, shuffle: true)
        func loader(_ sizes: ImageSchedule?) throws -> BatchLoader {
            try BatchLoader(
                images: images, sampler: sampler, rank: world.rank,
                augmentation: Augmentation(crop: true, cutout: true),
                normalization: try .pixelMean(from: PixelSums(of: images)), imageSizes: sizes, seed: 1)
        }
        func step(_ size: Int) throws -> TrainingStep {
            let network = try TrainableDenseNet(configuration.withImages(of: size), capacity: 8)
            network.initialize(seed: 1)
            return try TrainingStep(network, seed: 1, communicator: world)
        }
        let one = try step(size)
        var other = try step(schedule.size(epoch: 1))
        let (scheduled, whole) = (try loader(schedule), try loader(nil))
        var allocations = 0
        for epoch in 1...epochs {
            let size = schedule.size(epoch: epoch)
            try one.network.setImageSize(size)
            if size != other.network.configuration.image {
                let next = try step(size)
                try next.copy(from: other, world)
                other = next
            }
            for step in 0..<sampler.stepsPerEpoch {
                let batch = try scheduled.next()
                let isCounted = step == 1 && world.size == 1
                if isCounted { allocation_counter_start() }
                _ = try one(batch, rate: 0.1)
                if isCounted { allocations += Int(allocation_counter_stop()) }
                let original = try whole.next()
                _ = try withResized(original, size) { try other($0, rate: 0.1) }
                try world.throwOnAllRanks {
                    guard one.hasBits(of: other) else {
                        throw Failure(.differs, "epoch \(epoch), step \(step + 1): the networks differ")
                    }
                }
            }
        }
        if world.rank == 0 { print("\(epochs) epochs: \(allocations) allocations") }
    }

    /// A batch whose images are resized one by one.
    private static func withResized<Result>(
        _ batch: Batch, _ size: Int, _ body: (Batch) throws -> Result
    ) rethrows -> Result {
        let resized = AlignedBuffer<Float>(count: max(batch.count, 1) * 3 * size * size)
        let original = AlignedBuffer<Float>(count: batch.imageCount)
        for image in 0..<batch.count {
            original.pointer.update(from: batch.images + image * batch.imageCount, count: batch.imageCount)
            let planes = ImagePlanes(original.pointer, channels: 3, height: Self.size, width: Self.size)
            let target = resized.pointer + image * 3 * size * size
            if size == Self.size {
                target.update(from: original.pointer, count: batch.imageCount)
            } else {
                PlaneResizer(channels: 3, fromHeight: Self.size, width: Self.size, toHeight: size, width: size).resize(
                    planes, into: target)
            }
        }
        return try body(
            Batch(
                images: UnsafePointer(resized.pointer), imageCount: 3 * size * size, labels: batch.labels,
                sampleIndices: batch.sampleIndices, count: batch.count, globalCount: batch.globalCount,
                epoch: batch.epoch, step: batch.step))
    }
}

extension TrainingStep {
    /// All that a step moves.
    private var numbers: [UnsafeMutableBufferPointer<Float>] {
        [network.parameters, network.runningStatistics, optimizer.momentumBuffer.elements]
    }

    /// Goes on from where a step of a network for other images stands. Collective.
    fileprivate func copy(from other: TrainingStep, _ world: Communicator) throws {
        for (own, others) in zip(numbers, other.numbers) { _ = own.update(fromContentsOf: others) }
        // Ranks of a host share them.
        try world.barrier()
    }

    fileprivate func hasBits(of other: TrainingStep) -> Bool {
        zip(numbers, other.numbers).allSatisfy { own, others in
            own.count == others.count && memcmp(own.baseAddress!, others.baseAddress!, 4 * own.count) == 0
        }
    }
}
