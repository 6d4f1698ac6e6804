import Support

/// One rank's part of a global batch. The memory belongs to the loader and is valid until its next `next()`.
public struct Batch {
    /// Shape [count][channels][height][width], normalized.
    package let images: UnsafePointer<Float>
    /// Numbers of an image: channels · height · width.
    package let imageCount: Int
    /// Shape [count].
    package let labels: UnsafePointer<Int32>
    /// Where images are mixed: the labels of those that were mixed in, shape [count].
    package let otherLabels: UnsafePointer<Int32>?
    /// What counts of an image's own label where images are mixed; the rest is the other's.
    package let ownShare: Double
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
        otherLabels: UnsafePointer<Int32>? = nil, ownShare: Double = 1,
        sampleIndices: UnsafePointer<Int32>, count: Int, globalCount: Int, epoch: Int, step: Int
    ) {
        (self.otherLabels, self.ownShare) = (otherLabels, ownShare)
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
        try normalization.validate(channels: images.channels, height: images.height, width: images.width)
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
        let mix = source.mix(cursor)
        let batch = Batch(
            images: UnsafePointer(buffer.images.pointer), imageCount: imageCount,
            labels: UnsafePointer(buffer.labels.pointer),
            otherLabels: mix.map { _ in UnsafePointer(buffer.otherLabels.pointer) }, ownShare: mix?.share ?? 1,
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
                buffer.otherLabels.pointer[count] = buffer.otherLabels.pointer[slot]
                buffer.sampleIndices.pointer[count] = buffer.sampleIndices.pointer[slot]
            }
            count += 1
        }
        return count
    }
}

/// A position in the sequence of batches, and which of the two buffers it uses.
struct BatchCursor: Sendable {
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
