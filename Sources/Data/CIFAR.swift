import Glibc
import Support

/// Reads the binary version of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning multiple layers of features from tiny
/// images", 2009).
public enum CIFAR {
    /// The edge of an image in pixels.
    package static let imageSize = 32
    /// The number of records in an official CIFAR-10 file.
    static let recordsPerBatch = 10_000
    static let batchFiles = (1...5).map { "data_batch_\($0).bin" }
    static let testBatchFile = "test_batch.bin"
    static let classNamesFile = "batches.meta.txt"

    /// One of the two data sets: its files, its record layout, and the number of records and the classes of the
    /// official files.
    package struct Variant: Sendable {
        package let title: String
        /// The folder in the official archive.
        package let folder: String
        let layout: ImageSet.Layout
        let trainFiles: [String]
        let testFile: String
        let trainRecords: Int
        let testRecords: Int
        let classNamesFile: String
        /// The first class names of the official set, which tell it from other sets in the same layout.
        let firstClasses: [String]
        /// A text of the official set that nothing here reads.
        let otherFile: String

        func isIn(_ folder: String) -> Bool {
            (trainFiles + [testFile]).contains { !PathKind(of: "\(folder)/\($0)").isMissing }
        }

        /// The names of the official files, and the bytes that each may have at most.
        package var largestFiles: [String: Int] {
            let train = trainFiles.map { ($0, trainRecords * layout.recordBytes) }
            let others = [
                (testFile, testRecords * layout.recordBytes), (classNamesFile, largestText), (otherFile, largestText),
            ]
            return Dictionary(uniqueKeysWithValues: train + others)
        }
    }

    /// The bytes of a file of class names, at most.
    private static let largestText = 1 << 16

    package static let cifar10 = Variant(
        title: "CIFAR-10", folder: "cifar-10-batches-bin",
        layout: .init(classes: 10, height: imageSize, width: imageSize, headerBytes: 1), trainFiles: batchFiles,
        testFile: testBatchFile, trainRecords: recordsPerBatch, testRecords: recordsPerBatch,
        classNamesFile: classNamesFile, firstClasses: ["airplane", "automobile"], otherFile: "readme.html")

    /// The header is a coarse label, then the fine one; the fine one is used.
    package static let cifar100 = Variant(
        title: "CIFAR-100", folder: "cifar-100-binary",
        layout: .init(classes: 100, height: imageSize, width: imageSize, headerBytes: 2), trainFiles: ["train.bin"],
        testFile: "test.bin", trainRecords: 50_000, testRecords: 10_000, classNamesFile: "fine_label_names.txt",
        firstClasses: ["apple", "aquarium_fish"], otherFile: "coarse_label_names.txt")

    private static let variants = [cifar10, cifar100]

    /// Opens the training and the test set of CIFAR-10 or CIFAR-100, whichever the folder holds.
    ///
    /// - Parameters:
    ///   - path: the folder with the `.bin` files, or its parent (`cifar-10-batches-bin` or `cifar-100-binary` inside).
    ///   - limitTrain: the maximum number of training images to use.
    ///   - limitTest: the maximum number of test images to use.
    /// - Returns: the two sets, and warnings for the user: about a set with fewer images than the official one and the
    ///   same class names, and about files named like training files that are not read.
    /// - Throws: `Failure(.noInput)` if something is missing, `.data` for a file of the wrong size, `.usage` for a
    ///   limit below one or a folder that holds both sets. Labels are not checked: see `ImageSet.validateLabels`.
    public static func open(
        _ path: String, limitTrain: Int? = nil, limitTest: Int? = nil
    ) throws -> (train: ImageSet, test: ImageSet, warnings: [String]) {
        for (name, limit) in [("training", limitTrain), ("test", limitTest)] {
            if let limit, limit < 1 { throw Failure(.usage, "a limit of \(limit) \(name) images: expected 1 or more") }
        }
        let (variant, folder) = try find(path)
        let names = try classNames(variant, in: folder)
        let train = try variant.trainFiles.map {
            try segment(variant, "\(folder)/\($0)", official: variant.trainRecords)
        }
        let test = try segment(variant, "\(folder)/\(variant.testFile)", official: variant.testRecords)
        var warnings = unreadFiles(variant, in: folder)
        let counts = (train: train.reduce(0) { $0 + $1.count }, test: test.count)
        let official = (train: variant.trainFiles.count * variant.trainRecords, test: variant.testRecords)
        if counts != official, names?.starts(with: variant.firstClasses) != false {
            warnings.append(
                "\(folder): \(counts.train) training and \(counts.test) test images; \(variant.title)'s own files have "
                    + "\(official.train) and \(official.test)")
        }
        return (
            ImageSet(layout: variant.layout, segments: train, classNames: names, limit: limitTrain),
            ImageSet(layout: variant.layout, segments: [test], classNames: names, limit: limitTest), warnings
        )
    }

    /// A warning about further files that are named like CIFAR-10's training files.
    private static func unreadFiles(_ variant: Variant, in folder: String) -> [String] {
        guard variant.trainFiles == batchFiles, let all = try? FileSystem.names(inFolder: folder) else { return [] }
        let unread = all.filter { $0.hasPrefix("data_batch_") && $0.hasSuffix(".bin") && !batchFiles.contains($0) }
            .sorted()
        guard !unread.isEmpty else { return [] }
        let verb = unread.count == 1 ? "is" : "are"
        return [
            "\(folder): \(unread.joined(separator: ", ")) \(verb) not read; training images are read from \(batchFiles[0]) to 5 only"
        ]
    }

    /// The number of classes of the set in a folder, and the height and width of its images. Opens no file.
    ///
    /// - Throws: `Failure(.noInput)` if there is no set, `.usage` if there is more than one.
    package static func shape(of path: String) throws -> (classes: Int, imageSize: Int) {
        let (variant, _) = try find(path)
        return (variant.layout.classes, variant.layout.height)
    }

    /// Whether a folder holds one of the sets, or its parent does.
    package static func isIn(_ path: String) -> Bool {
        variants.contains { variant in variant.isIn(path) || variant.isIn("\(path)/\(variant.folder)") }
    }

    private static func find(_ path: String) throws -> (Variant, folder: String) {
        switch PathKind(of: path) {
        case .missing(let failure): throw Failure(.noInput, "\(failure); \(download)")
        case .unusable(let failure): throw failure
        case .other:
            throw Failure(
                .noInput, "\(path): not a folder; unpack the archive and name the folder that it contains")
        case .folder: break
        }
        let found = variants.flatMap { variant in
            [path, "\(path)/\(variant.folder)"].filter { variant.isIn($0) }.map { (variant, folder: $0) }
        }
        guard let first = found.first else {
            throw Failure(
                .noInput,
                "\(path): has neither CIFAR-10 (\(batchFiles[0]), …) nor CIFAR-100 (train.bin, test.bin), nor a folder "
                    + "\(variants.map(\.folder).joined(separator: " or ")) with it, nor folders of pictures; \(download)"
            )
        }
        guard found.count == 1 else {
            let list = found.map { "\($0.0.title) in \($0.folder)" }.joined(separator: ", ")
            throw Failure(.usage, "\(path): more than one data set (\(list)); name the folder of the one to use")
        }
        return first
    }

    private static let download = "get the binary version from https://www.cs.toronto.edu/~kriz/cifar.html"

    private static func segment(_ variant: Variant, _ path: String, official: Int) throws -> ImageSet.Segment {
        guard try FileSystem.exists(path) else {
            throw Failure(.noInput, "\(path): missing file of \(variant.title); \(download)")
        }
        let file = try InputFile(path: path)
        guard file.size > 0 else { throw Failure(.data, "\(path): empty file; fetch or write it again") }
        let (records, rest) = file.size.quotientAndRemainder(dividingBy: variant.layout.recordBytes)
        guard rest == 0 else {
            throw Failure(
                .data,
                "\(path): \(file.size) bytes are \(records) records of \(variant.title)'s \(variant.layout.recordBytes) bytes "
                    + "and \(rest) bytes more; the file is truncated or has a different layout, fetch or write it again"
            )
        }
        guard records <= official else {
            throw Failure(
                .data,
                "\(path): \(records) records, expected at most \(official) in this file of \(variant.title); fetch it again"
            )
        }
        file.prefetch()
        return ImageSet.Segment(name: path, count: records, records: .file(file))
    }

    /// The class names, one per line of the file; nil if there is no file.
    private static func classNames(_ variant: Variant, in folder: String) throws -> [String]? {
        let path = "\(folder)/\(variant.classNamesFile)"
        guard try FileSystem.exists(path) else { return nil }
        let text = String(decoding: try InputFile.contents(of: path, atMost: largestText), as: UTF8.self)
        let names = text.split(whereSeparator: \.isNewline).map { $0.filter { !$0.isWhitespace } }.filter {
            !$0.isEmpty
        }
        guard names.count == variant.layout.classes else {
            throw Failure(
                .data,
                "\(path): \(names.count) class names, expected \(variant.layout.classes); fetch the file again or remove it"
            )
        }
        return names
    }
}
