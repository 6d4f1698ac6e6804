import Glibc
import Support
import Testing

@testable import ImageData

@Suite struct BatchLoaderTests {
    /// A batch's contents, copied.
    struct Contents: Equatable {
        var images: [Float] = []
        var labels: [Int32] = []
        var sampleIndices: [Int32] = []
        var globalCount = 0
        var epoch = 0
        var step = 0

        init(_ batch: Batch) {
            images = [Float](UnsafeBufferPointer(start: batch.images, count: batch.count * 192))
            labels = [Int32](UnsafeBufferPointer(start: batch.labels, count: batch.count))
            sampleIndices = [Int32](UnsafeBufferPointer(start: batch.sampleIndices, count: batch.count))
            (globalCount, epoch, step) = (batch.globalCount, batch.epoch, batch.step)
        }

        mutating func append(_ other: Contents) {
            images += other.images
            labels += other.labels
            sampleIndices += other.sampleIndices
        }
    }

    let images = ImageSet.synthetic(count: 21, seed: 3, split: .train, imageSize: 8)

    func loader(
        ranks: Int = 1, rank: Int = 0, epoch: Int = 1, step: Int = 0, threads: Int = 1,
        augmentation: Augmentation = BatchLoaderTests.augmentation
    ) throws -> BatchLoader {
        // Batches of 8, 8 and 5.
        let sampler = try Sampler(sampleCount: 21, globalBatch: 8, worldSize: ranks, seed: 11, shuffle: true)
        return try BatchLoader(
            images: images, sampler: sampler, rank: rank, augmentation: augmentation,
            normalization: try .pixelMean(from: PixelSums(of: images)), seed: 5, startEpoch: epoch, startStep: step,
            threads: threads)
    }

    static let augmentation = Augmentation(crop: true, flip: true, jitter: true, cutout: true)

    @Test(arguments: [(2, 1), (4, 2), (3, 1), (7, 3), (1, 3)], [augmentation, Augmentation("flip,mixup,cutmix")!])
    func `ranks and threads together load what one rank loads, byte for byte`(
        ranks: (Int, threads: Int), augmentation: Augmentation
    ) throws {
        let (ranks, threads) = ranks
        let single = try loader(augmentation: augmentation)
        let loaders = try (0..<ranks).map {
            try loader(ranks: ranks, rank: $0, threads: threads, augmentation: augmentation)
        }
        for _ in 0..<7 {
            let expected = try Contents(single.next())
            let batches = try loaders.map { Contents(try $0.next()) }
            var union = batches[0]
            for batch in batches[1...] { union.append(batch) }
            #expect(union == expected)
            #expect(
                batches.allSatisfy {
                    ($0.globalCount, $0.epoch, $0.step) == (union.globalCount, union.epoch, union.step)
                })
        }
    }

    @Test(arguments: [1, 3])
    func `a file that is truncated or damaged during training ends the loader with its name`(threads: Int) throws {
        let folder = TemporaryFolder()
        writeSmallCIFAR10(to: folder)
        for damage in ["cut", "spoilt"] {
            let train = try CIFAR.open(folder.path).train
            let loader = try BatchLoader(
                images: train, sampler: Sampler(sampleCount: 15, globalBatch: 5, worldSize: 1, seed: 1, shuffle: false),
                rank: 0, augmentation: .none, normalization: .none, seed: 1, threads: threads)
            _ = try loader.next()
            if damage == "cut" {
                truncate("\(folder.path)/data_batch_5.bin", 0)
            } else {
                folder.write([UInt8](repeating: 200, count: 3 * 3073), to: "data_batch_5.bin")
            }
            let failure = #expect(throws: Failure.self) { for _ in 0..<3 { _ = try loader.next() } }
            #expect(failure?.kind == .data)
            #expect(throws: try #require(failure)) { try loader.next() }
            #expect(
                failure?.message.contains(damage == "cut" ? "data_batch_5.bin: has become shorter" : "has label 200")
                    == true)
            writeSmallCIFAR10(to: folder)
        }
    }

    @Test func `batches follow step after step and epoch after epoch`() throws {
        let loader = try loader()
        for (epoch, step, count) in [(1, 0, 8), (1, 1, 8), (1, 2, 5), (2, 0, 8), (2, 1, 8), (2, 2, 5), (3, 0, 8)] {
            let batch = try loader.next()
            #expect(batch.epoch == epoch && batch.step == step && batch.count == count && batch.globalCount == count)
            let labels = try (0..<count).map { try images.label(of: Int(batch.sampleIndices[$0])) }
            #expect(labels == (0..<count).map { Int(batch.labels[$0]) })
        }
    }

    @Test func `a sample without augmentation is its record, normalized`() throws {
        let loader = try loader(augmentation: .none)
        let contents = try Contents(loader.next())
        let image = TestImage(height: 8, width: 8) { _, _, _ in 0 }
        for (slot, sample) in contents.sampleIndices.enumerated() {
            image.planes.load(try images.pixels(of: Int(sample)))
            try Normalization.pixelMean(from: PixelSums(of: images)).apply(to: image.planes)
            #expect(Array(contents.images[slot * 192..<(slot + 1) * 192]) == image.values)
        }
    }

    @Test func `a sample looks different in the next epoch`() throws {
        let loader = try loader()
        var looks: [Int32: [Float]] = [:]
        for _ in 0..<3 {
            let batch = try Contents(loader.next())
            for (slot, sample) in batch.sampleIndices.enumerated() {
                looks[sample] = Array(batch.images[slot * 192..<slot * 192 + 192])
            }
        }
        #expect(looks.count == 21)
        for _ in 0..<3 {
            let batch = try Contents(loader.next())
            for (slot, sample) in batch.sampleIndices.enumerated() {
                #expect(looks[sample] != Array(batch.images[slot * 192..<slot * 192 + 192]))
            }
        }
    }

    @Test func `a loader started in the middle continues as if it had not been interrupted`() throws {
        let whole = try loader()
        let all = try (0..<9).map { _ in Contents(try whole.next()) }
        for start in 0..<6 {
            let resumed = try loader(epoch: 1 + start / 3, step: start % 3)
            for i in start..<start + 3 { #expect(try Contents(resumed.next()) == all[i]) }
        }
        // The step after the last is the first of the next epoch.
        let next = try loader(epoch: 1, step: 3)
        #expect(try Contents(next.next()) == all[3])
    }

    @Test func `a batch keeps its contents while the next one is prepared`() throws {
        let loader = try loader()
        for _ in 0..<5 {
            let batch = try loader.next()
            let contents = Contents(batch)
            usleep(3000)
            #expect(Contents(batch) == contents)
        }
    }

    @Test func `a rank without samples in the last batch still takes part`() throws {
        let loader = try loader(ranks: 7, rank: 6)
        #expect(try (0..<6).map { _ in try loader.next().count } == [1, 1, 0, 1, 1, 0])
    }

    @Test(.timeLimit(.minutes(1))) func `a loader that is deinitialized ends its threads at once, used or not`() throws
    {
        for round in 0..<200 {
            let loader = try loader(threads: 1 + round % 3)
            for _ in 0..<round % 4 { _ = try loader.next() }
        }
        let threads = TemporaryFolder.entries(of: "/proc/self/task").count
        #expect(threads < 100, "of some 400 threads \(threads) are left")
    }

    @Test func `waiting time is counted`() throws {
        let loader = try loader()
        #expect(loader.waitSeconds == 0)
        for _ in 0..<20 { _ = try loader.next() }
        #expect(loader.waitSeconds > 0 && loader.waitSeconds < 10)
    }

    @Test func `an invalid start or normalization is refused`() throws {
        for (epoch, step, threads) in [(0, 0, 1), (1, 4, 1), (1, -1, 1), (1, 0, 0)] {
            let error = #expect(throws: Failure.self) { try loader(epoch: epoch, step: step, threads: threads) }
            #expect(error?.kind == .usage)
        }
        let small = try PixelSums(of: ImageSet.synthetic(count: 1, seed: 1, split: .test, imageSize: 9))
        let error = #expect(throws: Failure.self) {
            try BatchLoader(
                images: images, sampler: Sampler(sampleCount: 21, globalBatch: 8, worldSize: 1, seed: 1, shuffle: true),
                rank: 0, augmentation: .none, normalization: .pixelMean(from: small), seed: 1)
        }
        #expect(error?.kind == .data)
    }
}
