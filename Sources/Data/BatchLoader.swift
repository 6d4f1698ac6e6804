import Pictures
import Support
import Synchronization

/// One rank's part of a global batch. The memory belongs to the loader and is valid until its next `next()`.
public struct Batch {
    /// Shape [count][3][height][width], normalized.
    package let images: UnsafePointer<Float>
    /// Numbers of an image: 3 · height · width.
    package let imageCount: Int
    /// Shape [count].
    package let labels: UnsafePointer<Int32>
    /// Shape [count], indices in the image set.
    package let sampleIndices: UnsafePointer<Int32>
    /// This rank's number of samples; may be zero in the last batch of an epoch.
    public let count: Int
    /// The number of samples of all ranks; with pictures that are skipped, those of other ranks included until
    /// somebody knows of them.
    public package(set) var globalCount: Int
    /// Counted from 1.
    package let epoch: Int
    /// Counted from 0 in each epoch.
    package let step: Int

    /// A batch in memory that the caller keeps alive.
    package init(
        images: UnsafePointer<Float>, imageCount: Int, labels: UnsafePointer<Int32>,
        sampleIndices: UnsafePointer<Int32>, count: Int, globalCount: Int, epoch: Int, step: Int
    ) {
        self.images = images
        self.imageCount = imageCount
        self.labels = labels
        self.sampleIndices = sampleIndices
        self.count = count
        self.globalCount = globalCount
        self.epoch = epoch
        self.step = step
    }
}

/// An endless sequence of one rank's batches, step after step and epoch after epoch. Background threads prepare the
/// next batch while the caller uses the current one.
///
/// There are two buffers: the caller's and the one being filled. A batch is a pure function of images, sampler, rank,
/// augmentation, normalization, sizes, seed, epoch and step; the number of threads does not matter. One thread at a
/// time may call the loader. Deinitializing it joins its threads.
public final class BatchLoader {
    /// Seconds that `next()` has waited for batches so far, including the first.
    package private(set) var waitSeconds = 0.0
    /// Why pictures are missing in the batch that `next()` gave last, where the set skips bad ones.
    package private(set) var lost: [Failure] = []

    private let source: BatchSource
    /// Each prepares its part of every batch.
    private let jobs: [BackgroundJob<BatchCursor>]
    /// The batch being prepared.
    private var cursor: BatchCursor
    /// The error that ended the sequence, if any.
    private var failure: (any Error)?

    /// Starts the threads, which begin with the first batch at once.
    ///
    /// - Parameters:
    ///   - images: the data set.
    ///   - sampler: selects the samples of each batch; for at most `images.count` samples.
    ///   - rank: the rank whose part of each batch to prepare.
    ///   - augmentation: random changes; `.none` for evaluation.
    ///   - normalization: the network's.
    ///   - imageSizes: the size that images get, by epochs, once all else is done to them; nil leaves them as they are.
    ///   - seed: the seed of the augmentation.
    ///   - startEpoch: the epoch of the first batch, counted from 1.
    ///   - startStep: the step of the first batch; `stepsPerEpoch` means the start of the next epoch.
    ///   - threads: the number of threads that share the work on a batch.
    /// - Throws: `Failure(.usage)` if the start or `threads` is out of range, `.data` if the normalization is for
    ///   images of a different size, `.unavailable` if a thread cannot be started.
    public init(
        images: ImageSet, sampler: Sampler, rank: Int, augmentation: Augmentation = .none,
        normalization: Normalization, imageSizes: ImageSchedule? = nil, seed: UInt64, startEpoch: Int = 1,
        startStep: Int = 0, threads: Int = 1
    ) throws {
        precondition(
            sampler.sampleCount <= images.count, "a sampler of \(sampler.sampleCount) for \(images.count) images")
        precondition(rank >= 0 && rank < sampler.worldSize, "there is no rank \(rank) of \(sampler.worldSize)")
        guard startEpoch >= 1, startStep >= 0, startStep <= sampler.stepsPerEpoch else {
            throw Failure(
                .usage,
                "a start at epoch \(startEpoch), step \(startStep): expected an epoch from 1 on and a step from 0 to "
                    + "\(sampler.stepsPerEpoch); has the batch size or the data set changed?")
        }
        guard threads >= 1 else { throw Failure(.usage, "\(threads) loader threads: expected 1 or more") }
        try normalization.validate(height: images.height, width: images.width)
        cursor = BatchCursor(epoch: startEpoch, step: startStep, stepsPerEpoch: sampler.stepsPerEpoch)
        let source = BatchSource(
            images: images, sampler: sampler, rank: rank, augmentation: augmentation, normalization: normalization,
            imageSizes: imageSizes, seed: seed)
        self.source = source
        jobs = try (0..<threads).map { index in
            let part = BatchPart(of: source, index: index, of: threads)
            return try BackgroundJob(refusal: "the loader cannot start thread \(index)") { try part.prepare($0) }
        }
        for job in jobs { job.start(cursor) }
    }

    /// Waits for the next batch, then has the threads prepare the one after it. Allocates nothing.
    ///
    /// Invalidates the memory of the previous batch.
    ///
    /// - Throws: `Failure(.data)` or `.noInput` if the files have changed since they were opened or can no longer be
    ///   read; every later call throws the same.
    public func next() throws -> Batch {
        let before = monotonicSeconds()
        for job in jobs {
            do { try job.wait() } catch { failure = failure ?? error }
        }
        waitSeconds += monotonicSeconds() - before
        if let failure { throw failure }
        let buffer = source.buffers[cursor.parity]
        let planned = source.sampler.localRange(step: cursor.step, rank: source.rank).count
        let imageCount = source.imageCount(epoch: cursor.epoch)
        let count = source.images.skipsBadPictures ? closeGaps(of: buffer, planned, imageCount) : planned
        let batch = Batch(
            images: UnsafePointer(buffer.images.pointer), imageCount: imageCount,
            labels: UnsafePointer(buffer.labels.pointer),
            sampleIndices: UnsafePointer(buffer.sampleIndices.pointer),
            count: count, globalCount: source.sampler.globalCount(step: cursor.step), epoch: cursor.epoch,
            step: cursor.step)
        cursor.advance()
        for job in jobs { job.start(cursor) }
        return batch
    }

    /// Moves samples to the places before them that have none.
    ///
    /// - Returns: how many samples there are.
    private func closeGaps(of buffer: BatchBuffer, _ planned: Int, _ imageCount: Int) -> Int {
        lost = buffer.lost.take()
        guard !lost.isEmpty else { return planned }
        var count = 0
        for slot in 0..<planned where buffer.labels.pointer[slot] >= 0 {
            if slot > count {
                (buffer.images.pointer + count * imageCount).update(
                    from: buffer.images.pointer + slot * imageCount, count: imageCount)
                buffer.labels.pointer[count] = buffer.labels.pointer[slot]
                buffer.sampleIndices.pointer[count] = buffer.sampleIndices.pointer[slot]
            }
            count += 1
        }
        return count
    }
}

/// A position in the sequence of batches, and which of the two buffers it uses.
private struct BatchCursor: Sendable {
    private(set) var epoch: Int
    private(set) var step: Int
    private(set) var parity = 0
    private let stepsPerEpoch: Int

    init(epoch: Int, step: Int, stepsPerEpoch: Int) {
        self.epoch = step < stepsPerEpoch ? epoch : epoch + 1
        self.step = step < stepsPerEpoch ? step : 0
        self.stepsPerEpoch = stepsPerEpoch
    }

    mutating func advance() {
        step += 1
        parity = 1 - parity
        if step == stepsPerEpoch {
            step = 0
            epoch += 1
        }
    }
}

/// The memory of one batch.
private struct BatchBuffer: Sendable {
    let images: AlignedBuffer<Float>
    /// Below zero where an image could not be read.
    let labels: AlignedBuffer<Int32>
    let sampleIndices: AlignedBuffer<Int32>
    let lost = LostImages()

    init(capacity: Int, imageCount: Int) {
        images = AlignedBuffer(count: capacity * imageCount)
        labels = AlignedBuffer(count: capacity)
        sampleIndices = AlignedBuffer(count: capacity)
    }
}

/// Why images of a batch could not be read.
private final class LostImages: Sendable {
    private let failures = Mutex<[Failure]>([])

    func add(_ failure: Failure) { failures.withLock { $0.append(failure) } }

    /// In an order that does not depend on threads.
    func take() -> [Failure] {
        failures.withLock { failures in
            defer { failures = [] }
            return failures.sorted { $0.message < $1.message }
        }
    }
}

/// Everything that determines the batches, and the two buffers: threads fill one while the caller has the other.
private struct BatchSource: Sendable {
    let images: ImageSet
    let sampler: Sampler
    let rank: Int
    let augmentation: Augmentation
    let normalization: Normalization
    let imageSizes: ImageSchedule?
    let seed: UInt64
    let buffers: [BatchBuffer]

    init(
        images: ImageSet, sampler: Sampler, rank: Int, augmentation: Augmentation, normalization: Normalization,
        imageSizes: ImageSchedule?, seed: UInt64
    ) {
        self.images = images
        self.sampler = sampler
        self.rank = rank
        self.augmentation = augmentation
        self.normalization = normalization
        self.imageSizes = imageSizes
        self.seed = seed
        let capacity = sampler.maximumLocalBatchSize(rank: rank)
        let planeCount = imageSizes?.sizes.map { $0 * $0 }.max() ?? images.height * images.width
        buffers = (0..<2).map { _ in BatchBuffer(capacity: capacity, imageCount: images.channels * planeCount) }
    }

    /// Numbers of an image of an epoch.
    func imageCount(epoch: Int) -> Int {
        let size = imageSizes?.size(epoch: epoch)
        return images.channels * (size.map { $0 * $0 } ?? images.height * images.width)
    }
}

/// One thread's part of every batch, with its own copy of the epoch's order.
private final class BatchPart {
    private let source: BatchSource
    private let index: Int
    private let count: Int
    private var order: (epoch: Int, samples: [Int32]) = (0, [])
    private let reader: ImageReader
    /// An image as it is read.
    private let pixels: AlignedBuffer<UInt8>
    /// An image before it is resized.
    private let original: AlignedBuffer<Float>
    /// By the size that images get, other than their own.
    private let resizers: [Int: PlaneResizer]

    init(of source: BatchSource, index: Int, of count: Int) {
        self.source = source
        self.index = index
        self.count = count
        let images = source.images
        reader = ImageReader(images)
        pixels = AlignedBuffer(count: images.pixelBytes)
        let others = Set(source.imageSizes?.sizes ?? []).filter { $0 != images.height || $0 != images.width }
        original = AlignedBuffer(count: others.isEmpty ? 0 : images.pixelBytes)
        resizers = Dictionary(
            uniqueKeysWithValues: others.map { size in
                let resizer = PlaneResizer(
                    fromHeight: images.height, width: images.width, toHeight: size, width: size)
                return (size, resizer)
            })
    }

    /// Fills this thread's part of a batch.
    func prepare(_ batch: BatchCursor) throws(Failure) {
        if order.epoch != batch.epoch { order = (batch.epoch, source.sampler.order(epoch: batch.epoch)) }
        let images = source.images
        let buffer = source.buffers[batch.parity]
        let positions = source.sampler.localRange(step: batch.step, rank: source.rank)
        let count = source.imageCount(epoch: batch.epoch)
        let resizer = source.imageSizes.flatMap { resizers[$0.size(epoch: batch.epoch)] }
        for slot in partition(positions.count, into: self.count, part: index) {
            let sample = Int(order.samples[positions.lowerBound + slot])
            let target = buffer.images.pointer + slot * count
            let planes = ImagePlanes(
                resizer == nil ? target : original.pointer, height: images.height, width: images.width)
            let label: Int
            do { label = try read(sample, epoch: batch.epoch) } catch  where images.skipsBadPictures {
                buffer.labels.pointer[slot] = -1
                buffer.lost.add(error)
                continue
            }
            planes.load(pixels.pointer)
            source.augmentation.applyBeforeNormalization(
                to: planes, seed: source.seed, epoch: batch.epoch, sample: sample)
            source.normalization.apply(to: planes)
            source.augmentation.applyAfterNormalization(
                to: planes, seed: source.seed, epoch: batch.epoch, sample: sample)
            resizer?.resize(planes, into: target)
            buffer.labels.pointer[slot] = Int32(label)
            buffer.sampleIndices.pointer[slot] = Int32(sample)
        }
    }

    /// Leaves an image, or the part of it that this epoch shows, in `pixels`.
    private func read(_ sample: Int, epoch: Int) throws(Failure) -> Int {
        try reader.read(sample, into: pixels.pointer) { height, width in
            source.augmentation.part(height: height, width: width, seed: source.seed, epoch: epoch, sample: sample)
        }
    }
}
