import ImageData
import Support
import Testing

@Suite struct ImageSetTests {
    private let pixels = (0..<2 * 3 * 2 * 2).map { UInt8($0 * 10) }

    @Test func `the caller's own pixels and labels come out of the loader unchanged`() throws {
        let set = try ImageSet(pixels: pixels.span, labels: [1, 0], height: 2, width: 2, classNames: ["a", "b"])
        let image = try set.image(0)
        #expect(image.pixels == Array(pixels[..<12]) && image.label == 1)
        #expect(set.count == 2 && set.height == 2 && set.width == 2 && set.classes == 2)
        let sampler = try Sampler(sampleCount: 2, globalBatch: 2, worldSize: 1, seed: 1, shuffle: false)
        let loader = try BatchLoader(
            images: set, sampler: sampler, rank: 0, augmentation: .none, normalization: .none, seed: 1)
        let batch = try loader.next()
        #expect(batch.labels[0] == 1 && batch.labels[1] == 0)
        #expect((0..<24).allSatisfy { batch.images[$0] == Float($0 * 10) / 255 })
    }

    @Test func `pixels, labels and classes that do not match are refused`() {
        func refused(_ pixels: [UInt8], _ labels: [Int], _ names: [String], height: Int = 2) {
            func open() throws -> ImageSet {
                try ImageSet(pixels: pixels.span, labels: labels, height: height, width: 2, classNames: names)
            }
            #expect(throws: Failure.self) { try open() }
        }
        refused(pixels, [0], ["a", "b"])
        refused(pixels, [0, 2], ["a", "b"])
        refused(pixels, [0, -1], ["a", "b"])
        refused(pixels, [0, 0], [])
        refused([], [], ["a"], height: 0)
        refused(pixels, [0, 0], (0...256).map { "\($0)" })
    }

    @Test func `one image is normalized as by the loader`() throws {
        let set = try ImageSet(pixels: pixels.span, labels: [0, 0], height: 2, width: 2, classNames: ["a"])
        let normalization = try Normalization.channel(from: PixelSums(of: set))
        let sampler = try Sampler(sampleCount: 2, globalBatch: 2, worldSize: 1, seed: 1, shuffle: false)
        let loader = try BatchLoader(
            images: set, sampler: sampler, rank: 0, augmentation: .none, normalization: normalization, seed: 1)
        let batch = try loader.next()
        let picture = try normalization.normalized(Array(pixels[..<12]).span, height: 2, width: 2)
        #expect((0..<12).allSatisfy { picture[$0] == batch.images[$0] })
        func normalizeBoth() throws -> [Float] { try normalization.normalized(pixels.span, height: 2, width: 2) }
        #expect(throws: Failure.self) { try normalizeBoth() }
    }
}
