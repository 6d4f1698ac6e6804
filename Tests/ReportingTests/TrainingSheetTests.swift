import DenseNetModel
import ImageData
import Pictures
import Testing

@testable import Reporting
@testable import Training

@Suite struct TrainingSheetTests {
    private func configuration(_ augmentation: Augmentation, batchSize: Int = 64) throws -> RunConfiguration {
        RunConfiguration(
            network: try DenseNetConfiguration(model: "densenet-bc-22-12"), batchSize: batchSize, seed: 7,
            augmentation: augmentation)
    }

    @Test func `without augmentation the sheet has the images of the first batch as they are`() throws {
        let images = ImageSet.synthetic(count: 80, seed: 7, split: .train, imageSize: 32)
        let sums = try PixelSums(of: images)
        let order = try Sampler(sampleCount: 80, globalBatch: 20, worldSize: 2, seed: 7, shuffle: true).order(epoch: 1)
        let expected = try order.prefix(20).map {
            Picture(height: 32, width: 32, planes: try images.image(Int($0)).pixels)
        }
        for normalization in [.none, .channel(from: sums), .pixelMean(from: sums)] as [Normalization] {
            let sheet = try Picture(
                sheetOf: images, configuration(.none, batchSize: 20), normalization: normalization)
            #expect(sheet == Picture(sheet: expected, columns: 8, scale: 2))
        }
    }

    @Test func `augmented images are those of the first step, and cutout leaves the mean colour`() throws {
        let images = ImageSet.synthetic(count: 64, seed: 7, split: .train, imageSize: 64)
        let normalization = Normalization.channel(from: try PixelSums(of: images))
        let run = try configuration(Augmentation(crop: true, flip: true, jitter: true, cutout: true))
        let sampler = try Sampler(sampleCount: 64, globalBatch: 64, worldSize: 2, seed: 7, shuffle: true)
        // Rank one's part is the lower half of the sheet.
        let loader = try BatchLoader(
            images: images, sampler: sampler, rank: 1, augmentation: run.augmentation, normalization: normalization,
            seed: 7)
        let colours = try withExtendedLifetime(loader) {
            normalization.colours(of: try loader.next().images, image: 3, planeCount: 64 * 64)
        }
        let sheet = try Picture(sheetOf: images, run, normalization: normalization)
        #expect(sheet.height == 8 * 66 + 2 && sheet.width == sheet.height)
        for y in 0..<64 {
            let start = (2 + 4 * 66 + y) * sheet.width + 2 + 3 * 66
            #expect(sheet.planes[start..<start + 64] == colours[y * 64..<(y + 1) * 64])
        }
        let grey = normalization.mean.map { UInt8(($0 * 255).rounded()) }
        let cut = (0..<64 * 64).count { i in (0..<3).allSatisfy { colours[$0 * 4096 + i] == grey[$0] } }
        #expect(cut >= 16 * 16)
    }

    @Test func `large images make a sheet of few`() throws {
        let images = ImageSet.synthetic(count: 4, seed: 7, split: .train, imageSize: 224)
        let sheet = try Picture(sheetOf: images, configuration(.none), normalization: .none)
        #expect(sheet.width == 3 * 226 + 2 && sheet.height == 2 * 226 + 2)
    }

    @Test func `numbers that are no colours are black or white`() throws {
        let normalization = try Normalization(mean: [0.5, 0.5, 0.5], std: [1, 1, 1])
        let colours = normalization.colours(of: [.nan, 1e30, -.infinity], image: 0, planeCount: 1)
        #expect(colours == [0, 255, 0])
    }
}
