import Glibc
import Support
import Testing

@testable import ImageData

@Suite struct SyntheticTests {
    let folder = TemporaryFolder()

    private func drawn(_ sample: Int, seed: UInt64 = 1, split: SyntheticImages.Split = .train, size: Int = 16)
        -> [UInt8]
    {
        [UInt8](unsafeUninitializedCapacity: 3 * size * size) {
            SyntheticImages.draw(sample: sample, seed: seed, split: split, imageSize: size, into: $0.baseAddress!)
            $1 = 3 * size * size
        }
    }

    @Test func `an image is a pure function of seed, split and sample`() throws {
        #expect(drawn(3) == drawn(3))
        #expect(Set([drawn(3), drawn(4), drawn(3, seed: 2), drawn(3, split: .test)]).count == 4)
        // A longer set begins with the same images.
        let (short, long) = (
            ImageSet.synthetic(count: 3, seed: 9, split: .test, imageSize: 11),
            ImageSet.synthetic(count: 6, seed: 9, split: .test, imageSize: 11)
        )
        for i in 0..<3 { #expect(try memcmp(short.pixels(of: i), long.pixels(of: i), 363) == 0) }
    }

    @Test(arguments: [8, 9, 24, 40]) func `images of any size are drawn, of all classes`(size: Int) throws {
        let images = ImageSet.synthetic(count: 20, seed: 4, split: .train, imageSize: size)
        #expect(images.height == size && images.width == size && images.classes == 10)
        try images.validateLabels(part: 0, of: 1)
        for i in 0..<20 {
            let plane = try images.pixels(of: i).prefix(size * size)
            #expect(Int(plane.max()!) - Int(plane.min()!) > 60, "picture \(i) shows nothing")
        }
    }

    @Test func `classes are balanced in every ten samples, and their order is random`() {
        var orders: Set<[Int]> = []
        for ten in 0..<50 {
            let labels = (0..<10).map { SyntheticImages.label(sample: 10 * ten + $0, seed: 1, split: .train) }
            #expect(labels.sorted() == Array(0..<10))
            orders.insert(labels)
        }
        #expect(orders.count == 50)
    }

    @Test func `written files read back as the images drawn`() throws {
        let path = "\(folder.path)/new"
        try SyntheticImages.write(to: path, train: 23, test: 7, seed: 6)
        let (train, test, warnings) = try CIFAR.open(path)
        #expect(train.count == 23 && test.count == 7 && warnings == [])
        #expect(train.classNames == SyntheticImages.classNames)
        for (images, split) in [(train, SyntheticImages.Split.train), (test, .test)] {
            let expected = ImageSet.synthetic(count: images.count, seed: 6, split: split)
            for i in 0..<images.count {
                #expect(try images.label(of: i) == expected.label(of: i))
                #expect(try memcmp(images.pixels(of: i), expected.pixels(of: i), pixelBytes) == 0)
            }
        }
        #expect(TemporaryFolder.entries(of: path) == Set(CIFAR.batchFiles + ["test_batch.bin", "batches.meta.txt"]))
    }

    @Test func `existing files are not overwritten`() throws {
        folder.write([1, 2, 3], to: "test_batch.bin")
        let error = #expect(throws: Failure.self) {
            try SyntheticImages.write(to: folder.path, train: 5, test: 1, seed: 1)
        }
        #expect(error?.kind == .unavailable && error?.message.contains("test_batch.bin") == true)
        #expect(folder.read("test_batch.bin") == [1, 2, 3] && folder.names == ["test_batch.bin"])
    }

    @Test func `a folder that cannot be made is named with the system's reason`() {
        folder.write([], to: "file")
        let path = "\(folder.path)/file/sub"
        let error = #expect(throws: Failure.self) { try SyntheticImages.write(to: path, train: 5, test: 1, seed: 1) }
        #expect(error?.kind == .unavailable)
        #expect(error?.message.contains(path) == true && error?.message.contains("Not a directory") == true)
    }

    @Test func `numbers of images that the layout cannot hold are refused`() {
        for (train, test) in [(4, 1), (50_001, 1), (5, 0), (5, 10_001)] {
            let error = #expect(throws: Failure.self) {
                try SyntheticImages.write(to: folder.path, train: train, test: test, seed: 1)
            }
            #expect(error?.kind == .usage)
        }
        #expect(folder.names.isEmpty)
    }

    @Test func `a linear classifier on the pixels stays below 60 per cent`() {
        let accuracy = linearAccuracy { image, _ in image }
        #expect(accuracy > 0.08 && accuracy < 0.45, "accuracy \(accuracy)")
        // The classifier learns if there is something to learn: here the class is encoded in ten pixels.
        #expect(
            linearAccuracy { image, label in image.enumerated().map { $0 < 10 ? ($0 == label ? 2 : -2) : $1 } } > 0.9)
    }

    /// Test accuracy of softmax regression, trained by plain gradient descent, on pixels in −1…1 changed by `change`.
    private func linearAccuracy(_ change: ([Float], Int) -> [Float]) -> Double {
        let inputs = 3 * 16 * 16
        func load(_ count: Int, _ split: SyntheticImages.Split) -> [(pixels: [Float], label: Int)] {
            (0..<count).map { sample in
                let label = SyntheticImages.label(sample: sample, seed: 1, split: split)
                return (change(drawn(sample, split: split).map { Float($0) / 127.5 - 1 }, label), label)
            }
        }
        let weights = UnsafeMutablePointer<Float>.allocate(capacity: 10 * inputs)
        weights.initialize(repeating: 0, count: 10 * inputs)
        defer { weights.deallocate() }
        func logits(_ pixels: UnsafePointer<Float>) -> [Float] {
            (0..<10).map { label in
                let row = weights + label * inputs
                var sum: Float = 0
                for i in 0..<inputs { sum += row[i] * pixels[i] }
                return sum
            }
        }
        let train = load(600, .train)
        for _ in 0..<4 {
            for (pixels, label) in train {
                let logits = logits(pixels)
                let powers = logits.map { exp($0 - logits.max()!) }
                let total = powers.reduce(0, +)
                for output in 0..<10 {
                    let slope = 0.002 * (powers[output] / total - (output == label ? 1 : 0))
                    let row = weights + output * inputs
                    pixels.withUnsafeBufferPointer { for i in 0..<inputs { row[i] -= slope * $0[i] } }
                }
            }
        }
        let test = load(300, .test)
        let right = test.count { pixels, label in
            let logits = logits(pixels)
            return logits.firstIndex(of: logits.max()!) == label
        }
        return Double(right) / 300
    }
}
