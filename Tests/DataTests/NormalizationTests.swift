import FoundationEssentials
import Support
import Testing

@testable import ImageData

@Suite struct NormalizationTests {
    let images = ImageSet.synthetic(count: 60, seed: 3, split: .train, imageSize: 8)

    @Test func `sums over parts add up to the sums over all images, for any number of parts`() throws {
        let whole = try PixelSums(of: images)
        #expect(whole.values.count == 7 + 192 && whole.values[0] == 60 * 64)
        for parts in [2, 3, 7, 61] {
            var total = try PixelSums(of: images, part: 0, of: parts)
            for part in 1..<parts {
                let sums = try PixelSums(of: images, part: part, of: parts)
                for i in total.values.indices { total.values[i] += sums.values[i] }
            }
            #expect(total == whole)
        }
    }

    @Test func `channel normalization gives mean 0 and deviation 1`() throws {
        let normalization = try Normalization.channel(from: PixelSums(of: images))
        for channel in 0..<3 {
            var (sum, squares) = (0.0, 0.0)
            for index in 0..<images.count {
                let image = try normalized(index, normalization)
                for value in image[channel * 64..<(channel + 1) * 64] {
                    sum += Double(value)
                    squares += Double(value) * Double(value)
                }
            }
            #expect(abs(sum / 3840) < 1e-6)
            #expect(abs(squares / 3840 - 1) < 1e-5)
        }
    }

    @Test func `the pixel mean of the normalized images is zero, and they are not scaled`() throws {
        let normalization = try Normalization.pixelMean(from: PixelSums(of: images))
        var total = [Float](repeating: 0, count: 192)
        for index in 0..<images.count {
            let image = try normalized(index, normalization)
            for i in 0..<192 { total[i] += image[i] }
        }
        #expect(total.allSatisfy { abs($0) < 1e-4 })
        let difference = try normalized(0, normalization)[5] - normalized(1, normalization)[5]
        #expect(try abs(difference - (Float(images.pixels(of: 0)[5]) - Float(images.pixels(of: 1)[5])) / 255) < 1e-6)
    }

    @Test func `a constant channel becomes zero rather than infinite`() throws {
        let folder = TemporaryFolder()
        for name in CIFAR.batchFiles + [CIFAR.testBatchFile] {
            folder.write([1] + (0..<pixelBytes).map { $0 < 1024 ? 77 : UInt8($0 % 256) }, to: name)
        }
        let train = try CIFAR.open(folder.path).train
        let normalization = try Normalization.channel(from: PixelSums(of: train))
        #expect(normalization.std[0] == 1)
        let image = TestImage(height: 32, width: 32) { _, _, _ in 0 }
        image.planes.load(try train.pixels(of: 0))
        normalization.apply(to: image.planes)
        #expect(image.values[..<1024].allSatisfy { abs($0) < 1e-6 })
        #expect(image.values.allSatisfy { $0.isFinite })
    }

    @Test func `means and deviations can be given explicitly`() throws {
        let normalization = try Normalization(mean: [0.5, 0.25, 0], std: [0.5, 0.25, 1])
        let image = TestImage(colours: [[1, 0.5, 0.75]])
        normalization.apply(to: image.planes)
        #expect(image.values == [1, 1, 0.75])
        let bad: [([Float], [Float])] = [
            ([1, 2], [1, 1, 1]), ([.infinity, 1, 1], [1, 1, 1]), ([0, 0, 0], [1, 0, 1]), ([0, 0, 0], [1, -1, 1]),
            ([0, 0, 0], [1, .nan, 1]), ([0, 0, 0], []),
        ]
        for (mean, std) in bad {
            let error = #expect(throws: Failure.self) { try Normalization(mean: mean, std: std) }
            #expect(error?.kind == .usage)
        }
    }

    @Test func `a normalization survives JSON bit for bit, and the wrong size is refused`() throws {
        let sums = try PixelSums(of: images)
        for normalization in [.none, .channel(from: sums), Normalization.pixelMean(from: sums)] {
            let copy = try JSONDecoder().decode(Normalization.self, from: JSONEncoder().encode(normalization))
            #expect(copy == normalization)
            try copy.validate(channels: 3, height: 8, width: 8)
        }
        let error = #expect(throws: Failure.self) {
            try Normalization.pixelMean(from: PixelSums(of: images)).validate(channels: 3, height: 32, width: 32)
        }
        #expect(error?.kind == .data && error?.message.contains("192 pixel means: expected 3072") == true)
    }

    @Test func `no normalization leaves colours in 0 to 1`() throws {
        let image = try normalized(0, .none)
        #expect(try images.pixels(of: 0).enumerated().allSatisfy { image[$0] == Float($1) / 255 })
    }

    private func normalized(_ index: Int, _ normalization: Normalization) throws -> [Float] {
        let image = TestImage(height: 8, width: 8) { _, _, _ in 0 }
        image.planes.load(try images.pixels(of: index))
        normalization.apply(to: image.planes)
        return image.values
    }
}
