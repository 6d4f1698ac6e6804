import DataParallel
import ImageData
import Support

/// The images of a run, opened by every rank, of which each reads only its own samples.
package struct RunData {
    package let train: ImageSet
    package let test: ImageSet
    package let normalization: Normalization
    /// What the files hold; nil for the synthetic set.
    let files: [RunConfiguration.DataFile]?
    /// What weights carry so that they can be used on other pictures: normalization and class names.
    var weightsMetadata: [String: String] {
        get throws { try normalization.metadata.merging(ClassNames(train.classNames ?? []).metadata) { $1 } }
    }
    /// Lines for the user; the same on all ranks.
    package let warnings: [String]

    /// Opens the sets, checks their labels (each rank a share) and takes the normalization's sums (likewise).
    /// Collective.
    ///
    /// - Parameters:
    ///   - source: where the images are, and what they have to be where that is known.
    ///   - imageSize: what the network reads; the synthetic set is drawn in that size.
    ///   - normalization: taken from the training set where it depends on it; given ready for weights that bring
    ///     theirs.
    /// - Throws: on all ranks the failure of the first rank that has one.
    package init(
        _ source: RunConfiguration.DataSource, seed: UInt64, imageSize: Int, classes: Int,
        normalization choice: RunConfiguration.NormalizationChoice, ready: Normalization? = nil,
        communicator: Communicator
    ) throws {
        communicator.progress.enter("opening the data")
        let (train, test, warnings) = try communicator.throwOnAllRanks {
            let sets = try Self.open(source, seed: seed, imageSize: imageSize, ranks: communicator.localSize)
            guard sets.train.height == imageSize else {
                throw Failure(
                    .usage,
                    "the images are \(sets.train.height)×\(sets.train.width) pixels, `image` is \(imageSize); leave it out"
                )
            }
            guard sets.train.classes <= classes else {
                throw Failure(
                    .usage,
                    "the data has \(sets.train.classes) classes, the network only \(classes); leave out `classes`")
            }
            try sets.train.validateLabels(part: communicator.rank, of: communicator.size)
            try sets.test.validateLabels(part: communicator.rank, of: communicator.size)
            return sets
        }
        files = source.path == nil ? nil : try communicator.requireSameImages([train, test], as: source.files)
        self.train = train
        self.test = test
        self.warnings = warnings
        if let ready {
            try communicator.throwOnAllRanks { try ready.validate(height: imageSize, width: imageSize) }
            normalization = ready
        } else {
            normalization = try Self.normalization(choice, of: train, communicator)
        }
    }

    private static func open(
        _ source: RunConfiguration.DataSource, seed: UInt64, imageSize: Int, ranks: Int
    ) throws -> (train: ImageSet, test: ImageSet, warnings: [String]) {
        if let path = source.path {
            return try CIFAR.open(path, limitTrain: source.limitTrain, limitTest: source.limitTest)
        }
        guard imageSize >= 8 else {
            throw Failure(.usage, "`image` is \(imageSize), the synthetic images have 8 pixels or more")
        }
        let counts = [
            source.limitTrain ?? RunConfiguration.DataSource.syntheticTrain,
            source.limitTest ?? RunConfiguration.DataSource.syntheticTest,
        ]
        try ImageSet.requireMemory(
            synthetic: counts.reduce(0, +), imageSize: imageSize, ranks: ranks,
            advice: "use a smaller `limitTrain` and `limitTest`")
        func set(_ split: SyntheticImages.Split, _ count: Int) -> ImageSet {
            ImageSet.synthetic(count: count, seed: seed, split: split, imageSize: imageSize)
        }
        return (
            set(.train, counts[0]), set(.test, counts[1]), []
        )
    }

    /// Sums over shares of the training set are exact integers, so every number of ranks gets the same normalization.
    private static func normalization(
        _ choice: RunConfiguration.NormalizationChoice, of train: ImageSet, _ communicator: Communicator
    ) throws -> Normalization {
        func sums() throws -> PixelSums {
            var sums = try communicator.throwOnAllRanks {
                try PixelSums(of: train, part: communicator.rank, of: communicator.size)
            }
            sums.values = try communicator.allReduceSum(sums.values)
            return sums
        }
        switch choice {
        case .channel: return .channel(from: try sums())
        case .pixelMean: return .pixelMean(from: try sums())
        case .none: return .none
        case .explicit(let mean, let std):
            return try communicator.throwOnAllRanks { try Normalization(mean: mean, std: std) }
        }
    }
}
