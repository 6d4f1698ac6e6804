import DataParallel
import ImageData
import Support

/// What a look at every picture of a folder tells.
package struct PictureScan: Sendable {
    /// A pair of files with the same bytes, one to train on and one to test with.
    package struct Duplicate: Codable, Sendable, Equatable {
        package let train, test: String
    }

    /// The smallest, the middle and the largest of some numbers.
    package struct Spread: Codable, Sendable, Equatable {
        package let least, median, most: Int

        init(_ numbers: [Int]) {
            let sorted = numbers.sorted()
            (least, median, most) = (sorted[0], sorted[sorted.count / 2], sorted[sorted.count - 1])
        }
    }

    package let classNames: [String]
    /// Pictures of each class, bad ones included.
    package let train, test: [Int]
    /// In pixels, of the pictures that can be used; nil where there are none.
    package let heights, widths: Spread?
    /// Of the training pictures; nil where none can be used.
    package let normalization: Normalization?
    /// Lines on what cannot be used.
    package let problems: [String]
    package let duplicates: [Duplicate]
    /// Lines for the user.
    package let warnings: [String]

    /// Opens every picture, each rank its share. Collective.
    ///
    /// - Parameter seed: of the split.
    /// - Throws: on all ranks the failure of the first rank that has one; `Failure(.usage)` where there are no pictures.
    package init(_ source: RunConfiguration.DataSource, seed: UInt64, communicator: Communicator) throws {
        communicator.progress.enter("list of pictures", mayTakeLong: true)
        let listing = try communicator.throwOnAllRanks {
            guard source.hasPictures else {
                throw Failure(
                    .data, "\(source.path ?? "the synthetic set"): has no folders of pictures; see `path`")
            }
            return try source.listPictures(seed: seed)
        }
        try communicator.requireSameLists(listing)
        let inspection = try PictureInspection(listing, factFolder: nil, warn: { _ in }, communicator)
        let (trainFacts, testFacts) = (inspection.facts(of: listing.train), inspection.facts(of: listing.test))
        let usable = (trainFacts + testFacts).filter { $0.problem == nil }
        func count(_ files: PictureFiles) -> [Int] {
            files.files.reduce(into: [Int](repeating: 0, count: listing.classNames.count)) { $0[$1.label] += 1 }
        }
        classNames = listing.classNames
        (train, test) = (count(listing.train), count(listing.test))
        (heights, widths) = usable.isEmpty ? (nil, nil) : (Spread(usable.map(\.height)), Spread(usable.map(\.width)))
        let goodTrain = trainFacts.filter { $0.problem == nil }
        normalization = goodTrain.isEmpty ? nil : .channel(from: PixelSums(of: goodTrain, channels: 3))
        problems = listing.problems.map(\.text) + (trainFacts + testFacts).compactMap(\.problem)
        warnings = listing.warnings + [inspection.remark(on: listing)].compactMap { $0 }
        duplicates = try communicator.throwOnAllRanks {
            communicator.rank == 0 ? try Self.duplicates(listing, trainFacts, testFacts) : []
        }
    }

    /// Files with the same bytes: of those with the same size and checksum, those that are.
    private static func duplicates(
        _ listing: PictureListing, _ train: [PictureFacts], _ test: [PictureFacts]
    ) throws -> [Duplicate] {
        func key(_ file: PictureFile, _ facts: PictureFacts) -> [Int] { [file.size, Int(facts.checksum)] }
        var tests: [[Int]: [PictureFile]] = [:]
        for (file, facts) in zip(listing.test.files, test) where facts.problem == nil {
            tests[key(file, facts), default: []].append(file)
        }
        var found: [Duplicate] = []
        for (file, facts) in zip(listing.train.files, train) where facts.problem == nil {
            for other in tests[key(file, facts)] ?? []
            where try listing.train.bytes(of: file) == listing.test.bytes(of: other) {
                found.append(Duplicate(train: file.path, test: other.path))
            }
        }
        return found
    }
}
