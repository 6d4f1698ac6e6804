import Glibc
import Pictures
import Support
import TestSupport
import Testing

@testable import ImageData

/// Batches of pictures some of which go bad.
@Suite struct PictureLoaderTests {
    let scratch = ScratchFolder()

    /// A set of twelve pictures, of which some are gone by the time that they are read.
    private func images(without lost: [Int], skipping: Bool) throws -> ImageSet {
        for index in 0..<12 {
            try FileSystem.makeFolderAndParents(scratch("train/\(index % 2)"))
            _ = try scratch.write(try png(UInt8(10 * index)), to: "train/\(index % 2)/\(10 + index).png")
        }
        try FileSystem.makeFolderAndParents(scratch("test/1"))
        _ = try scratch.write(try png(), to: "test/1/1.png")
        var files = try PictureListing(folder: scratch.path, table: nil, split: nil).train
        files.skipsBad = skipping
        for index in lost { unlink(scratch(files.files[index].path)) }
        return ImageSet(pictures: files, classNames: ["0", "1"], framing: ImageFraming(edge: 4, size: 4))
    }

    private func loader(_ images: ImageSet, ranks: Int = 1, rank: Int = 0, threads: Int = 1) throws -> BatchLoader {
        let sampler = try Sampler(sampleCount: 12, globalBatch: 8, worldSize: ranks, seed: 1, shuffle: true)
        return try BatchLoader(
            images: images, sampler: sampler, rank: rank, augmentation: Augmentation("mixup:1")!,
            normalization: .none, seed: 1, threads: threads)
    }

    /// Sample, label, label of what is mixed in, and first number of each image.
    private func contents(_ batch: Batch) -> [[Float]] {
        (0..<batch.count).map { index in
            [
                Float(batch.sampleIndices[index]), Float(batch.labels[index]), Float(batch.otherLabels?[index] ?? -1),
                batch.images[index * batch.imageCount],
            ]
        }
    }

    @Test
    func `pictures that are gone are left out alike by any number of ranks and threads, mixed with the nearest before`()
        throws
    {
        let images = try images(without: [0, 3, 4, 11], skipping: true)
        let single = try loader(images)
        let layouts: [(ranks: Int, threads: Int)] = [(3, 1), (1, 3), (2, 2), (4, 1)]
        let loaders = try layouts.map { layout in
            try (0..<layout.ranks).map { rank in
                try loader(images, ranks: layout.ranks, rank: rank, threads: layout.threads)
            }
        }
        var seen: Set<Float> = []
        for step in 0..<6 {
            let expected = contents(try single.next())
            let told = Set(single.lost.map(\.message))
            for (layout, loaders) in zip(layouts, loaders) {
                let union = try loaders.flatMap { contents(try $0.next()) }
                #expect(union == expected, "\(layout)")
                #expect(Set(loaders.flatMap { $0.lost.map(\.message) }) == told)
            }
            if step < 2 { seen.formUnion(expected.map { $0[0] }) }
        }
        #expect(seen == Set((0..<12).map(Float.init)).subtracting([0, 3, 4, 11]))
    }

    @Test func `without skipping the first one that is gone ends the loader, by its name`() throws {
        let images = try images(without: [5], skipping: false)
        let loader = try loader(images)
        let error = #expect(throws: Failure.self) { for _ in 0..<3 { _ = try loader.next() } }
        #expect(
            error?.kind == .noInput && error?.message.contains("/train/0/20.png: No such file") == true,
            "\(error as Any)")
    }

    @Test func `a picture that has changed since it was listed is refused, whatever it holds`() throws {
        let images = try images(without: [], skipping: false)
        _ = try scratch.write(try png(height: 5, width: 7), to: "train/0/10.png")
        let error = #expect(throws: Failure.self) { try images.image(0) }
        #expect(error?.kind == .data && error?.message.contains("train/0/10.png: has changed since") == true)
    }

    /// A slope of at most 28 a pixel, so that what is a pixel off is a little different.
    @Test func `a part of a JPEG file that is much larger than the image is read from a smaller picture`() throws {
        let fixture =
            #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined()
            + "/PicturesTests/Fixtures/444.jpeg"
        try FileSystem.makeFolderAndParents(scratch("train/a"))
        let path = try scratch.write(Array(try InputFile.contents(of: fixture, atMost: 1 << 20)), to: "train/a/1.jpeg")
        let bytes = try InputFile.contents(of: path, atMost: 1 << 20)
        let file = PictureFile(
            path: "train/a/1.jpeg", label: 0, size: bytes.count, modified: try InputFile(path: path).modified)
        let files = PictureFiles(root: scratch.path, files: [file], name: "train")
        let picture = try Picture(bytes, path: path)
        for channels in [1, 3] {
            let framing = ImageFraming(edge: 2, size: 2, channels: channels)
            let set = ImageSet(pictures: files, classNames: ["a"], framing: framing)
            for box in [PixelBox(top: 0, left: 0, height: 8, width: 8), PixelBox(top: 1, left: 4, height: 7, width: 9)]
            {
                var (own, exact) = (
                    [UInt8](repeating: 0, count: 4 * channels), [UInt8](repeating: 0, count: 4 * channels)
                )
                _ = try ImageReader(set).read(0, into: &own) { _, _ in box }
                let whole = channels == 1 ? picture.grey : picture
                whole.planes.withUnsafeBufferPointer {
                    PictureResizer().resize(
                        box, of: PixelPlanes($0.baseAddress!, channels: channels, height: 9, width: 13), toHeight: 2,
                        width: 2, keeping: PixelBox(height: 2, width: 2), into: &exact)
                }
                #expect(zip(own, exact).allSatisfy { abs(Int($0) - Int($1)) <= 28 }, "\(own), \(exact)")
                #expect(own != exact, "nothing was decoded smaller")
            }
        }
    }

    @Test func `a part in a smaller picture is inside and where it was, and has the pixels of the image`() {
        var random = CounterRandom(.synthetic, 70)
        for _ in 0..<10_000 {
            let (height, width) = (1 + random.below(200), 1 + random.below(200))
            let (top, left) = (random.below(height), random.below(width))
            let box = PixelBox(
                top: top, left: left, height: 1 + random.below(height - top), width: 1 + random.below(width - left))
            let size = 1 + random.below(20)
            let shrinkage = box.shrinkage(toHeight: size, width: size)
            let small = box.shrunk(by: shrinkage, height: height, width: width)
            #expect(shrinkage == 8 || box.height < 2 * shrinkage * size || box.width < 2 * shrinkage * size)
            #expect(shrinkage > 1 || small == box)
            #expect(small.top + small.height <= (height - 1) / shrinkage + 1)
            #expect(small.left + small.width <= (width - 1) / shrinkage + 1)
            #expect(
                abs(small.top * shrinkage - top) <= shrinkage / 2 && abs(small.left * shrinkage - left) <= shrinkage / 2
            )
            if shrinkage > 1 { #expect(small.height >= size - 1 && small.width >= size - 1) }
        }
    }

    @Test func `facts of pictures survive conversion to text, and a file of them what is damaged`() throws {
        let set = try images(without: [2], skipping: true)
        guard case .pictures(let files) = set.storage else { return }
        var table = PictureFactTable()
        for file in files.files { table[file, of: files] = PictureFacts(of: file, in: files) }
        let good = table[files.files[0], of: files]
        #expect(good?.height == 4 && good?.width == 4 && good?.problem == nil)
        #expect(table[files.files[2], of: files]?.problem?.contains("No such file") == true)
        let read = PictureFactTable(table.text)
        // What could not be used is looked at again.
        #expect(read.count == 11 && read[files.files[0], of: files] == good && read[files.files[2], of: files] == nil)
        for text in ["", "x", String(table.text.dropLast(40)), table.text.replacing("\t", with: " ")] {
            _ = PictureFactTable(text)
        }
        let facts = files.files.indices.compactMap { read[files.files[$0], of: files] }
        #expect(PixelSums(of: facts, channels: 3).values[0] == 11 * 16)
        #expect(PixelSums(of: facts, channels: 1).values.count == 3)
    }
}
