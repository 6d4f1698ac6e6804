import Testing

@testable import ImageData

/// The mixing of images.
@Suite struct ImageMixTests {
    private let images = ImageSet.synthetic(count: 21, seed: 3, split: .train, imageSize: 8)

    private func loader(_ augmentation: String, sizes: ImageSchedule? = nil) throws -> BatchLoader {
        let sampler = try Sampler(sampleCount: 21, globalBatch: 8, worldSize: 1, seed: 11, shuffle: true)
        return try BatchLoader(
            images: images, sampler: sampler, rank: 0, augmentation: Augmentation(augmentation)!,
            normalization: .none, imageSizes: sizes, seed: 5)
    }

    /// Each image's numbers, its label, and the label of what is mixed in.
    private func contents(_ batch: Batch) -> [(pixels: [Float], label: Int32, other: Int32)] {
        (0..<batch.count).map { index in
            let pixels = (0..<batch.imageCount).map { batch.images[index * batch.imageCount + $0] }
            return (pixels, batch.labels[index], batch.otherLabels?[index] ?? -1)
        }
    }

    @Test(arguments: [nil, ImageSchedule("4:1,8")])
    func `mixup adds the image before, the first the last, by a share of the step`(sizes: ImageSchedule?) throws {
        let (plain, mixed) = (try loader("flip", sizes: sizes), try loader("flip,mixup:1", sizes: sizes))
        var shares: Set<Double> = []
        for _ in 0..<7 {
            let (before, batch) = (contents(try plain.next()), try mixed.next())
            let (share, after) = (batch.ownShare, contents(batch))
            shares.insert(share)
            #expect(share >= 0 && share <= 1)
            for (index, image) in after.enumerated() {
                let other = before[(index + before.count - 1) % before.count]
                #expect(image.label == before[index].label && image.other == other.label)
                for (i, pixel) in image.pixels.enumerated() {
                    let expected = Float(share) * before[index].pixels[i] + Float(1 - share) * other.pixels[i]
                    #expect(abs(pixel - expected) < 1e-6)
                }
            }
        }
        #expect(shares.count == 7)
    }

    @Test func `cutmix takes a rectangle from the image before, and counts labels by its area`() throws {
        let (plain, mixed) = (try loader("none"), try loader("cutmix"))
        var isWhole = 0
        for _ in 0..<9 {
            let (before, batch) = (contents(try plain.next()), try mixed.next())
            let after = contents(batch)
            let taken = (1 - batch.ownShare) * 64
            #expect(abs(taken - taken.rounded()) < 1e-9)
            isWhole += taken == 0 ? 1 : 0
            for (index, image) in after.enumerated() {
                let other = before[(index + before.count - 1) % before.count]
                // Rows and columns where something is the other's.
                let changed = (0..<64).filter { place in
                    (0..<3).contains { image.pixels[$0 * 64 + place] != before[index].pixels[$0 * 64 + place] }
                }
                #expect(Double(changed.count) <= taken)
                #expect(
                    changed.allSatisfy { place in
                        (0..<3).allSatisfy { image.pixels[$0 * 64 + place] == other.pixels[$0 * 64 + place] }
                    })
            }
        }
        #expect(isWhole < 9)
    }

    @Test func `with both, a step has the one or the other, and small parameters share unevenly`() throws {
        func mixes(_ text: String) -> [ImageMix] {
            (1...200).compactMap { step in
                ImageMix(Augmentation(text)!, height: 8, width: 8, seed: 1, epoch: 2, step: step)
            }
        }
        #expect(ImageMix(.none, height: 8, width: 8, seed: 1, epoch: 1, step: 0) == nil)
        let (even, uneven) = (mixes("mixup:2").map(\.share), mixes("mixup:0.1").map(\.share))
        func middle(_ shares: [Double]) -> Int { shares.count { $0 > 0.2 && $0 < 0.8 } }
        #expect(middle(even) > 120 && middle(uneven) < 60)
        #expect(abs(even.reduce(0, +) / 200 - 0.5) < 0.08 && abs(uneven.reduce(0, +) / 200 - 0.5) < 0.12)
        let areas = mixes("mixup,cutmix").map { ($0.share * 64).rounded() == $0.share * 64 }
        #expect((60...140).contains(areas.count { $0 }))
    }
}
