import Glibc
import Support

extension ImageSet {
    /// Refuses sets of so many pictures in all that memory could not hold.
    ///
    /// - Parameters:
    ///   - ranks: the processes of this host that draw as many each.
    ///   - advice: what makes them fewer.
    /// - Throws: `Failure(.unavailable)`.
    package static func demandMemory(synthetic count: Int, imageSize: Int, ranks: Int, advice: String) throws {
        try Support.demandMemory(
            Double(count * (1 + channels * imageSize * imageSize)), ranks: ranks, who: "\(count) synthetic images need",
            advice: advice)
    }

    /// A set of `SyntheticImages` in memory: samples `0 ..< count` of a split.
    ///
    /// - Precondition: `count ≥ 1` and `imageSize ≥ 8`.
    package static func synthetic(
        count: Int, seed: UInt64, split: SyntheticImages.Split, imageSize: Int = CIFAR.imageSize
    ) -> ImageSet {
        precondition(count >= 1, "a set of \(count) pictures, expected 1 or more")
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
    /// Writes pictures of 32 × 32 in CIFAR-10's binary layout: five training files, a test file and the class names.
    ///
    /// The folder is made if need be (not its parents). Each file appears whole or not at all.
    ///
    /// - Parameters:
    ///   - train: training images, 5 to 50,000, spread over the five files as evenly as can be.
    ///   - test: test images, 1 to 10,000.
    /// - Throws: `Failure(.usage)` for other numbers, `.unavailable` if the system refuses or one of the files is
    ///   there already.
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
            throw Failure(.unavailable, "\(path): there already; remove it or name another folder")
        }
        for (part, name) in CIFAR.batchFiles.enumerated() {
            try writeRecords("\(folder)/\(name)", samples: share(part, of: files, in: train), seed, .train)
        }
        try writeRecords("\(folder)/\(CIFAR.testBatchFile)", samples: 0..<test, seed, .test)
        let lines = classNames.map { $0 + "\n" }.joined()
        try AtomicFile.write(lines.utf8, to: "\(folder)/\(CIFAR.classNamesFile)")
    }

    private static func writeRecords(_ path: String, samples: Range<Int>, _ seed: UInt64, _ split: Split) throws {
        let recordBytes = 1 + ImageSet.channels * CIFAR.imageSize * CIFAR.imageSize
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

    /// A label byte, then the planes.
    fileprivate static func drawRecord(
        _ sample: Int, _ seed: UInt64, _ split: Split, _ imageSize: Int, _ record: UnsafeMutablePointer<UInt8>
    ) {
        record[0] = UInt8(draw(sample: sample, seed: seed, split: split, imageSize: imageSize, into: record + 1))
    }
}
