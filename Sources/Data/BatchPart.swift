import Pictures
import Support
import Synchronization

/// The memory of one batch.
struct BatchBuffer: Sendable {
    let images: AlignedBuffer<Float>
    /// Below zero where an image could not be read.
    let labels: AlignedBuffer<Int32>
    /// Of the images that are mixed in.
    let otherLabels: AlignedBuffer<Int32>
    let sampleIndices: AlignedBuffer<Int32>
    let lost = LostImages()

    init(capacity: Int, imageCount: Int) {
        images = AlignedBuffer(count: capacity * imageCount)
        labels = AlignedBuffer(count: capacity)
        otherLabels = AlignedBuffer(count: capacity)
        sampleIndices = AlignedBuffer(count: capacity)
    }
}

/// Why images of a batch could not be read.
final class LostImages: Sendable {
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
struct BatchSource: Sendable {
    let images: ImageSet
    let sampler: Sampler
    let rank: Int
    let augmentation: Augmentation
    let normalization: Normalization
    let imageSizes: ImageSchedule?
    let seed: UInt64
    /// Numbers of an image in the epochs where they are largest.
    let largestImageCount: Int
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
        let largest = images.channels * planeCount
        largestImageCount = largest
        buffers = (0..<2).map { _ in BatchBuffer(capacity: capacity, imageCount: largest) }
    }

    /// Height and width of the images of an epoch.
    func size(epoch: Int) -> (height: Int, width: Int) {
        imageSizes.map { ($0.size(epoch: epoch), $0.size(epoch: epoch)) } ?? (images.height, images.width)
    }

    /// How the images of a batch are mixed; nil where they are not.
    func mix(_ batch: BatchCursor) -> ImageMix? {
        let (height, width) = size(epoch: batch.epoch)
        return ImageMix(
            augmentation, height: height, width: width, seed: seed, epoch: batch.epoch, step: batch.step)
    }

    /// Numbers of an image of an epoch.
    func imageCount(epoch: Int) -> Int {
        let (height, width) = size(epoch: epoch)
        return images.channels * height * width
    }
}

/// One thread's part of every batch, with its own copy of the epoch's order.
final class BatchPart {
    private let source: BatchSource
    private let index: Int
    private let count: Int
    private var order: (epoch: Int, samples: [Int32]) = (0, [])
    private let reader: ImageReader
    /// An image as it is read.
    private let pixels: AlignedBuffer<UInt8>
    /// An image before it is resized.
    private let original: AlignedBuffer<Float>
    /// Where images are mixed: the one before the next, with its label, and memory for that one.
    private var other: (label: Int, image: AlignedBuffer<Float>)
    private var spare: AlignedBuffer<Float>
    /// By the size that images get, other than their own.
    private let resizers: [Int: PlaneResizer]

    init(of source: BatchSource, index: Int, of count: Int) {
        self.source = source
        self.index = index
        self.count = count
        let images = source.images
        reader = ImageReader(images)
        pixels = AlignedBuffer(count: images.pixelBytes)
        let mixed = source.augmentation.mixes ? source.largestImageCount : 0
        (other, spare) = ((0, AlignedBuffer(count: mixed)), AlignedBuffer(count: mixed))
        let others = Set(source.imageSizes?.sizes ?? []).filter { $0 != images.height || $0 != images.width }
        original = AlignedBuffer(count: others.isEmpty ? 0 : images.pixelBytes)
        resizers = Dictionary(
            uniqueKeysWithValues: others.map { size in
                let resizer = PlaneResizer(
                    channels: images.channels, fromHeight: images.height, width: images.width, toHeight: size,
                    width: size)
                return (size, resizer)
            })
    }

    /// Fills this thread's part of a batch.
    func prepare(_ batch: BatchCursor) throws(Failure) {
        if order.epoch != batch.epoch { order = (batch.epoch, source.sampler.order(epoch: batch.epoch)) }
        let buffer = source.buffers[batch.parity]
        let positions = source.sampler.localRange(step: batch.step, rank: source.rank)
        let count = source.imageCount(epoch: batch.epoch)
        let slots = partition(positions.count, into: self.count, part: index)
        let mix = source.mix(batch)
        if mix != nil, !slots.isEmpty { try loadOther(before: positions.lowerBound + slots.lowerBound, batch) }
        for slot in slots {
            let sample = Int(order.samples[positions.lowerBound + slot])
            let target = buffer.images.pointer + slot * count
            var label: Int?
            do { label = try load(sample, epoch: batch.epoch, into: target) } catch {
                guard source.images.skipsBadPictures else { throw error }
                buffer.lost.add(error)
            }
            buffer.labels.pointer[slot] = Int32(label ?? -1)
            buffer.sampleIndices.pointer[slot] = Int32(sample)
            if let mix, let label { mixIn(mix, to: target, batch, label: label, slot: slot, of: buffer) }
        }
    }

    /// Leaves the image before a position in `other`; where bad ones are skipped, the nearest before it that can be read.
    private func loadOther(before position: Int, _ batch: BatchCursor) throws(Failure) {
        var place = position
        for _ in 0..<source.sampler.globalCount(step: batch.step) {
            place = source.sampler.position(before: place, step: batch.step)
            do {
                other.label = try load(Int(order.samples[place]), epoch: batch.epoch, into: other.image.pointer)
                return
            } catch {
                // Who has it in a part of its own tells of it.
                guard source.images.skipsBadPictures else { throw error }
            }
        }
    }

    /// Mixes the image before it into an image, and keeps that for the next.
    private func mixIn(
        _ mix: ImageMix, to target: UnsafeMutablePointer<Float>, _ batch: BatchCursor, label: Int, slot: Int,
        of buffer: BatchBuffer
    ) {
        let (height, width) = source.size(epoch: batch.epoch)
        spare.pointer.update(from: target, count: source.imageCount(epoch: batch.epoch))
        buffer.otherLabels.pointer[slot] = Int32(other.label)
        mix.apply(
            to: ImagePlanes(target, channels: source.images.channels, height: height, width: width),
            other: other.image.pointer)
        (other.label, other.image, spare) = (label, spare, other.image)
    }

    /// Leaves an image, as the network is to have it, in `target`.
    ///
    /// - Returns: its label.
    private func load(_ sample: Int, epoch: Int, into target: UnsafeMutablePointer<Float>) throws(Failure) -> Int {
        let images = source.images
        let resizer = source.imageSizes.flatMap { resizers[$0.size(epoch: epoch)] }
        let planes = ImagePlanes(
            resizer == nil ? target : original.pointer, channels: images.channels, height: images.height,
            width: images.width)
        let label = try read(sample, epoch: epoch)
        planes.load(pixels.pointer)
        source.augmentation.applyBeforeNormalization(to: planes, seed: source.seed, epoch: epoch, sample: sample)
        source.normalization.apply(to: planes)
        source.augmentation.applyAfterNormalization(to: planes, seed: source.seed, epoch: epoch, sample: sample)
        resizer?.resize(planes, into: target)
        return label
    }

    /// Leaves an image, or the part of it that this epoch shows, in `pixels`.
    private func read(_ sample: Int, epoch: Int) throws(Failure) -> Int {
        try reader.read(sample, into: pixels.pointer) { height, width in
            source.augmentation.part(height: height, width: width, seed: source.seed, epoch: epoch, sample: sample)
        }
    }
}
