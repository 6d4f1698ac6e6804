import Testing

@testable import ImageData

/// Training images of different sizes by epochs.
@Suite struct ImageScheduleTests {
    @Test func `each phase has its epochs, and the last size all others`() throws {
        let schedule = try #require(ImageSchedule("16:3,24:2,32"))
        #expect((1...8).map(schedule.size) == [16, 16, 16, 24, 24, 32, 32, 32])
        #expect(schedule.epochs == 5 && schedule.sizes == [16, 24, 32])
        #expect(schedule.description == "16:3,24:2,32")
        #expect(ImageSchedule("32").map { ($0.size(epoch: 1), $0.epochs) }! == (32, 0))
    }

    @Test(arguments: ["", "16:3", "16:3,", "16,32", "16:0,32", "0:3,32", "16:3:1,32", "16:3,24:2,32:1", "a:3,32", "-1"])
    func `other text is no schedule`(_ text: String) { #expect(ImageSchedule(text) == nil) }

    private let images = ImageSet.synthetic(count: 21, seed: 3, split: .train, imageSize: 8)

    /// Batches of 8, 8 and 5.
    private func loader(_ sizes: String?, epoch: Int = 1, step: Int = 0, threads: Int = 1) throws -> BatchLoader {
        try BatchLoader(
            images: images, sampler: Sampler(sampleCount: 21, globalBatch: 8, worldSize: 1, seed: 11, shuffle: true),
            rank: 0, augmentation: Augmentation(crop: true, flip: true, jitter: true, cutout: true),
            normalization: try .pixelMean(from: PixelSums(of: images)),
            imageSizes: sizes.flatMap { ImageSchedule($0) }, seed: 5, startEpoch: epoch, startStep: step,
            threads: threads)
    }

    private func values(_ batch: Batch) -> [Float] {
        [Float](UnsafeBufferPointer(start: batch.images, count: batch.count * batch.imageCount))
    }

    @Test(arguments: [1, 3])
    func `each batch, also the one prepared across a change, has its epoch's images, resized after all else`(
        threads: Int
    ) throws {
        let (whole, scheduled) = (try loader(nil), try loader("3:1,12:2,8", threads: threads))
        for (index, size) in [3, 3, 3, 12, 12, 12, 12, 12, 12, 8, 8, 8].enumerated() {
            let (original, batch) = (try whole.next(), try scheduled.next())
            #expect(batch.imageCount == 3 * size * size && batch.count == original.count)
            let expected = (0..<batch.count).flatMap { slot -> [Float] in
                let image = TestImage(height: 8, width: 8) { _, _, _ in 0 }
                image.planes.pointer.update(from: original.images + slot * 192, count: 192)
                return size == 8 ? image.values : resized(image, height: size, width: size).values
            }
            #expect(values(batch) == expected, "batch \(index)")
            let resumed = try loader("3:1,12:2,8", epoch: 1 + index / 3, step: index % 3)
            #expect(try values(resumed.next()) == expected, "batch \(index)")
        }
    }
}
