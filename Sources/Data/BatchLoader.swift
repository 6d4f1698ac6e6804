import Dispatch
import Glibc
import Support
import Synchronization

/// One rank's part of a global batch. The memory is the loader's, valid until its next call of `next()`.
package struct Batch {
    /// `[count, 3, height, width]`, normalised.
    package let images: UnsafePointer<Float>
    /// `[count]`
    package let labels: UnsafePointer<Int32>
    /// `[count]`, positions in the image set.
    package let sampleIndices: UnsafePointer<Int32>
    /// The samples of this rank; may be zero in the last batch of an epoch.
    package let count: Int
    /// The samples of all ranks.
    package let globalCount: Int
    /// Counted from 1.
    package let epoch: Int
    /// Counted from 0 in each epoch.
    package let step: Int

    /// A batch of memory that the caller keeps.
    package init(
        images: UnsafePointer<Float>, labels: UnsafePointer<Int32>, sampleIndices: UnsafePointer<Int32>, count: Int,
        globalCount: Int, epoch: Int, step: Int
    ) {
        self.images = images
        self.labels = labels
        self.sampleIndices = sampleIndices
        self.count = count
        self.globalCount = globalCount
        self.epoch = epoch
        self.step = step
    }
}

/// Hands out one rank's batches, step after step, epoch after epoch, without end; its threads prepare the next one
/// meanwhile.
///
/// There are two buffers: one is the caller's, one is being filled. A batch is a pure function of images, sampler,
/// rank, augmentation, normalisation, seed, epoch and step, whatever the number of threads. One thread at a time may
/// call the loader.
package final class BatchLoader {
    /// Seconds that `next()` has waited for batches so far; the very first batch counts.
    package private(set) var waitSeconds = 0.0

    private let work: BatchWork
    private var threads: [pthread_t] = []
    private var cursor: BatchCursor
    private var isStopped = false

    /// Starts the threads, which prepare the first batch at once.
    ///
    /// - Parameters:
    ///   - startEpoch: the epoch of the first batch, counted from 1.
    ///   - startStep: the step of the first batch; `stepsPerEpoch` means the start of the next epoch.
    ///   - threads: how many threads share the work on a batch.
    /// - Throws: `Failure(.usage)` for a start that does not exist or no thread, `.data` if the normalisation is for
    ///   images of another size, `.unavailable` if a thread cannot be started.
    package init(
        images: ImageSet, sampler: Sampler, rank: Int, augmentation: Augmentation, normalization: Normalization,
        seed: UInt64, startEpoch: Int = 1, startStep: Int = 0, threads: Int = 1
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
        work = BatchWork(
            images: images, sampler: sampler, rank: rank, augmentation: augmentation, normalization: normalization,
            seed: seed, start: cursor, threads: threads)
        for thread in 0..<threads { try startThread(thread) }
        work.begin()
    }

    deinit { stop() }

    /// The next batch in sequence; waits until it is ready, and has the threads prepare the one after.
    ///
    /// The previous batch's memory is no longer valid. Allocates nothing.
    ///
    /// - Throws: `Failure(.data)` or `.noInput` where the files have changed, or can no longer be read, since they
    ///   were opened.
    package func next() throws -> Batch {
        precondition(!isStopped, "the loader has been stopped")
        let before = monotonicSeconds()
        work.finish()
        waitSeconds += monotonicSeconds() - before
        if let failure = work.failure.withLock({ $0 }) { throw failure }
        let buffer = work.buffers[cursor.parity]
        let batch = Batch(
            images: UnsafePointer(buffer.images.pointer), labels: UnsafePointer(buffer.labels.pointer),
            sampleIndices: UnsafePointer(buffer.sampleIndices.pointer),
            count: work.sampler.localRange(step: cursor.step, rank: work.rank).count,
            globalCount: work.sampler.globalCount(step: cursor.step), epoch: cursor.epoch, step: cursor.step)
        cursor.advance()
        work.begin()
        return batch
    }

    /// Ends the threads and waits for them, at most for the batch that is in preparation. Also done when the loader
    /// goes.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        work.endThreads()
        for thread in threads { pthread_join(thread, nil) }
    }

    private func startThread(_ index: Int) throws {
        // The threads hold the work, never the loader: it can go, and ends them.
        let thread = BatchThread(work: work, index: index)
        threads.append(try Support.startThread(refusal: "the loader cannot start thread \(index)") { thread.run() })
    }
}

/// Where in the sequence of batches one is, and which of the two buffers is in turn.
private struct BatchCursor {
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
private struct BatchBuffer {
    let images: AlignedBuffer<Float>
    let labels: AlignedBuffer<Int32>
    let sampleIndices: AlignedBuffer<Int32>

    init(capacity: Int, imageCount: Int) {
        images = AlignedBuffer(count: capacity * imageCount)
        labels = AlignedBuffer(count: capacity)
        sampleIndices = AlignedBuffer(count: capacity)
    }
}

/// What the loader and its threads share.
///
/// At any time at most one batch is in preparation: the loader signals every thread to begin it and collects a signal
/// from each when done. The semaphores order all accesses to the buffers, hence `@unchecked Sendable`.
private final class BatchWork: @unchecked Sendable {
    let images: ImageSet
    let sampler: Sampler
    let rank: Int
    let augmentation: Augmentation
    let normalization: Normalization
    let seed: UInt64
    let start: BatchCursor
    let buffers: [BatchBuffer]
    /// One a thread: begin the next batch.
    let beginSignals: [DispatchSemaphore]
    /// A thread's part of the batch is done.
    let doneSignal = DispatchSemaphore(value: 0)
    /// What a thread has met first, if anything.
    let failure = Mutex<Failure?>(nil)
    /// Looked at by a thread whenever it is told to begin.
    let isEnding = Atomic(false)

    init(
        images: ImageSet, sampler: Sampler, rank: Int, augmentation: Augmentation, normalization: Normalization,
        seed: UInt64, start: BatchCursor, threads: Int
    ) {
        self.images = images
        self.sampler = sampler
        self.rank = rank
        self.augmentation = augmentation
        self.normalization = normalization
        self.seed = seed
        self.start = start
        let capacity = sampler.maximumLocalBatch(rank: rank)
        let imageCount = images.channels * images.height * images.width
        buffers = (0..<2).map { _ in BatchBuffer(capacity: capacity, imageCount: imageCount) }
        beginSignals = (0..<threads).map { _ in DispatchSemaphore(value: 0) }
    }

    func begin() {
        for signal in beginSignals { signal.signal() }
    }

    func finish() {
        for _ in beginSignals { doneSignal.wait() }
    }

    func endThreads() {
        isEnding.store(true, ordering: .releasing)
        begin()
    }
}

/// One thread of a loader. Each keeps its own place in the sequence and its own copy of the epoch's order.
private final class BatchThread {
    private let work: BatchWork
    private let index: Int
    private var cursor: BatchCursor
    private var order: [Int32]
    private let record: AlignedBuffer<UInt8>

    init(work: BatchWork, index: Int) {
        self.work = work
        self.index = index
        cursor = work.start
        order = []
        record = AlignedBuffer(count: work.images.layout.recordBytes)
    }

    func run() {
        var epoch = 0
        while true {
            work.beginSignals[index].wait()
            if work.isEnding.load(ordering: .acquiring) { return }
            if cursor.epoch != epoch {
                epoch = cursor.epoch
                order = work.sampler.order(epoch: epoch)
            }
            do { try prepare() } catch { work.failure.withLock { $0 = $0 ?? error } }
            cursor.advance()
            work.doneSignal.signal()
        }
    }

    /// Fills this thread's part of the batch.
    private func prepare() throws(Failure) {
        let images = work.images
        let buffer = work.buffers[cursor.parity]
        let positions = work.sampler.localRange(step: cursor.step, rank: work.rank)
        for slot in share(index, of: work.beginSignals.count, in: positions.count) {
            let sample = Int(order[positions.lowerBound + slot])
            let count = images.channels * images.height * images.width
            let planes = ImagePlanes(buffer.images.pointer + slot * count, height: images.height, width: images.width)
            let label = try images.read(sample, into: record.pointer)
            planes.load(record.pointer + images.layout.headerBytes)
            work.augmentation.applyBeforeNormalization(to: planes, seed: work.seed, epoch: cursor.epoch, sample: sample)
            work.normalization.apply(to: planes)
            work.augmentation.applyAfterNormalization(to: planes, seed: work.seed, epoch: cursor.epoch, sample: sample)
            buffer.labels.pointer[slot] = Int32(label)
            buffer.sampleIndices.pointer[slot] = Int32(sample)
        }
    }
}
