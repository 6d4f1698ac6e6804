import Glibc
import Pictures
import Support

extension ImageSet {
    /// Checks that `count` synthetic images fit in memory.
    ///
    /// - Parameters:
    ///   - ranks: processes on this host that draw as many each.
    ///   - advice: how to need less, for the message.
    /// - Throws: `Failure(.unavailable)`.
    package static func requireMemory(synthetic count: Int, imageSize: Int, ranks: Int, advice: String) throws {
        try Support.requireMemory(
            Double(count * (1 + Layout.channels * imageSize * imageSize)), ranks: ranks,
            who: "\(count) synthetic images need",
            advice: advice)
    }

    /// A set of `SyntheticImages` in memory: samples `0..<count` of a split.
    ///
    /// - Precondition: `count ≥ 1` and `imageSize ≥ 8`.
    package static func synthetic(
        count: Int, seed: UInt64, split: SyntheticImages.Split, imageSize: Int = CIFAR.imageSize
    ) -> ImageSet {
        precondition(count >= 1, "a set of \(count) images, expected 1 or more")
        let layout = Layout(
            classes: SyntheticImages.classNames.count, height: imageSize, width: imageSize, headerBytes: 1)
        let memory = AlignedBuffer<UInt8>(count: count * layout.recordBytes)
        for sample in 0..<count {
            SyntheticImages.drawRecord(sample, seed, split, imageSize, memory.pointer + sample * layout.recordBytes)
        }
        let segment = Segment(name: "synthetic images", count: count, records: .memory(memory))
        return ImageSet(layout: layout, segments: [segment], classNames: SyntheticImages.classNames)
    }
}

extension SyntheticImages {
    /// Writes 32 × 32 images in CIFAR-10's binary layout: five training files, a test file and the class names.
    ///
    /// Creates the folder if necessary, but not its parents. Each file is written atomically.
    ///
    /// - Parameters:
    ///   - train: the number of training images, 5 to 50,000, spread evenly over the five files.
    ///   - test: the number of test images, 1 to 10,000.
    /// - Throws: `Failure(.usage)` for other numbers, `.unavailable` if the system refuses or one of the files already
    ///   exists.
    package static func write(to folder: String, train: Int = 50_000, test: Int = 10_000, seed: UInt64) throws {
        let files = CIFAR.batchFiles.count
        guard (files...files * CIFAR.recordsPerBatch).contains(train) else {
            throw Failure(.usage, "\(train) training images: expected \(files) to \(files * CIFAR.recordsPerBatch)")
        }
        guard (1...CIFAR.recordsPerBatch).contains(test) else {
            throw Failure(.usage, "\(test) test images: expected 1 to \(CIFAR.recordsPerBatch)")
        }
        try FileSystem.makeFolder(folder)
        let names = CIFAR.batchFiles + [CIFAR.testBatchFile, CIFAR.classNamesFile]
        for path in names.map({ "\(folder)/\($0)" }) where !PathKind(of: path).isMissing {
            throw Failure(.unavailable, "\(path): already exists; remove it or choose another folder")
        }
        for (part, name) in CIFAR.batchFiles.enumerated() {
            try writeRecords("\(folder)/\(name)", samples: partition(train, into: files, part: part), seed, .train)
        }
        try writeRecords("\(folder)/\(CIFAR.testBatchFile)", samples: 0..<test, seed, .test)
        let lines = classNames.map { $0 + "\n" }.joined()
        try AtomicFile.write(lines.utf8, to: "\(folder)/\(CIFAR.classNamesFile)")
    }

    /// Writes the set as PNG files in a folder for each class, in folders `train` and `test`.
    ///
    /// - Parameters:
    ///   - train: the number of training images, 1 or more; `test` likewise.
    ///   - imageSize: height and width, 8 or more.
    /// - Throws: `Failure(.usage)` for other numbers, `.unavailable` if the system refuses or the folder exists.
    package static func writePictures(
        to folder: String, train: Int, test: Int, imageSize: Int = CIFAR.imageSize, seed: UInt64
    ) throws {
        guard train > 0, test > 0, imageSize >= 8 else {
            throw Failure(
                .usage,
                "\(train) training and \(test) test images of \(imageSize) pixels: expected 1 or more, of 8 pixels or more"
            )
        }
        guard try FileSystem.makeFolder(folder) else {
            throw Failure(.unavailable, "\(folder): already exists; remove it or choose another folder")
        }
        for (part, count, split) in [("train", train, Split.train), ("test", test, .test)] {
            for name in classNames { try FileSystem.makeFolderAndParents("\(folder)/\(part)/\(name)") }
            let images = ImageSet.synthetic(count: count, seed: seed, split: split, imageSize: imageSize)
            for index in 0..<count {
                let (planes, label) = try images.image(index)
                let picture = Picture(height: imageSize, width: imageSize, planes: planes)
                let number = String(index).paddedWithZeros(to: 5)
                try AtomicFile.write(picture.png, to: "\(folder)/\(part)/\(classNames[label])/\(number).png")
            }
        }
    }

    private static func writeRecords(_ path: String, samples: Range<Int>, _ seed: UInt64, _ split: Split) throws {
        let recordBytes = 1 + ImageSet.Layout.channels * CIFAR.imageSize * CIFAR.imageSize
        let recordsAtOnce = 256
        let buffer = AlignedBuffer<UInt8>(count: recordsAtOnce * recordBytes)
        try AtomicFile.write(path) { output in
            for start in stride(from: samples.lowerBound, to: samples.upperBound, by: recordsAtOnce) {
                let count = min(recordsAtOnce, samples.upperBound - start)
                for i in 0..<count {
                    drawRecord(start + i, seed, split, CIFAR.imageSize, buffer.pointer + i * recordBytes)
                }
                try output.write(UnsafeRawBufferPointer(start: buffer.pointer, count: count * recordBytes))
            }
        }
    }

    /// Draws a record: a label byte, then the planes.
    fileprivate static func drawRecord(
        _ sample: Int, _ seed: UInt64, _ split: Split, _ imageSize: Int, _ record: UnsafeMutablePointer<UInt8>
    ) {
        record[0] = UInt8(draw(sample: sample, seed: seed, split: split, imageSize: imageSize, into: record + 1))
    }
}
