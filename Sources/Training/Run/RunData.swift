import DataParallel
import DenseNetModel
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

    /// The pictures that are left out; nil for none, or where there are none.
    let skipped: [String]?

    /// Opens the sets, checks their labels or pictures (each rank a share) and takes the normalization's sums
    /// (likewise). Collective.
    ///
    /// - Parameters:
    ///   - source: where the images are, and what they have to be where that is known.
    ///   - seed: what synthetic images, and the split of pictures, are drawn from.
    ///   - network: whose images they are to be.
    ///   - testImage: the size of test images; nil for the network's.
    ///   - normalization: taken from the training set where it depends on it; given ready for weights that bring
    ///     theirs. Then no picture is opened before it is used.
    ///   - factFolder: where facts of pictures are kept from run to run; nil for nowhere.
    ///   - warn: called on rank zero with lines for the user.
    /// - Throws: on all ranks the failure of the first rank that has one.
    package init(
        _ source: RunConfiguration.DataSource, seed: UInt64, network: DenseNetConfiguration,
        testImage: Int? = nil, normalization choice: RunConfiguration.NormalizationChoice, ready: Normalization? = nil,
        factFolder: String? = nil, warn: (String) -> Void = { _ in }, communicator: Communicator
    ) throws {
        communicator.progress.enter("opening the data")
        var sums: PixelSums?
        let hasPictures = source.hasPictures
        guard try communicator.ranksDiffering(from: hasPictures ? 1 : 0).isEmpty else {
            throw communicator.markAgreed(
                Failure(
                    .data, "some ranks find pictures, others CIFAR's files or nothing; give all nodes the same files"))
        }
        let testNetwork = network.withImages(of: testImage ?? network.image)
        let framing = (
            train: network.framing(ofPictures: hasPictures), test: testNetwork.framing(ofPictures: hasPictures)
        )
        if let path = source.path, hasPictures {
            let pictures = try RunPictures(
                RunPictures.Request(
                    source: source, seed: seed, framing: framing, inspects: ready == nil,
                    factFolder: factFolder), path: path, warn: warn, communicator: communicator)
            (train, test, warnings) = (pictures.train, pictures.test, pictures.warnings)
            (sums, skipped) = (pictures.sums, pictures.skipped)
        } else {
            let sets = try communicator.throwOnAllRanks {
                try source.requireNothingOfPictures()
                let sets = try Self.open(source, seed: seed, imageSize: network.image, ranks: communicator.localSize)
                try sets.train.validateLabels(part: communicator.rank, of: communicator.size)
                try sets.test.validateLabels(part: communicator.rank, of: communicator.size)
                return sets
            }
            train = sets.train.framed(framing.train)
            test = sets.test.framed(framing.test)
            warnings = sets.warnings
            skipped = nil
        }
        let (train, test) = (train, test)
        try communicator.throwOnAllRanks {
            guard train.classes <= network.classes else {
                throw Failure(
                    .usage,
                    "the data has \(train.classes) classes, the network only \(network.classes); leave out `classes`")
            }
        }
        files = source.path == nil ? nil : try communicator.requireSameImages([train, test], as: source.files)
        if let ready {
            try communicator.throwOnAllRanks {
                try ready.validate(
                    channels: network.imageChannels, height: network.image, width: network.image)
            }
            normalization = ready
        } else {
            normalization = try Self.normalization(choice, of: train, test, pictureSums: sums, communicator)
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
        _ choice: RunConfiguration.NormalizationChoice, of train: ImageSet, _ test: ImageSet,
        pictureSums: PixelSums?, _ communicator: Communicator
    ) throws -> Normalization {
        func sums() throws -> PixelSums {
            if let pictureSums { return pictureSums }
            var sums = try communicator.throwOnAllRanks {
                try PixelSums(of: train, part: communicator.rank, of: communicator.size)
            }
            sums.values = try communicator.allReduceSum(sums.values)
            return sums
        }
        switch choice {
        case .channel: return .channel(from: try sums())
        case .pixelMean:
            guard pictureSums == nil, train.hasSizeOfRecords, train.height == test.height else {
                throw communicator.markAgreed(
                    Failure(
                        .usage,
                        "`normalization` pixel-mean is for images of one size, that of the network; use another"))
            }
            return .pixelMean(from: try sums())
        case .none: return .none(channels: train.channels)
        case .explicit(let mean, let std):
            return try communicator.throwOnAllRanks {
                let normalization = try Normalization(mean: mean, std: std)
                guard mean.count == train.channels else {
                    throw Failure(
                        .usage, "`mean` is \(mean), expected a number for each channel of the images, \(train.channels)"
                    )
                }
                return normalization
            }
        }
    }
}

extension DenseNetConfiguration {
    /// How images become the network's: resized to its size; pictures for a network with the ImageNet stem a seventh
    /// larger, of which the middle is kept, as that family is evaluated (256 pixels for 224).
    package func framing(ofPictures isPictures: Bool) -> ImageFraming {
        ImageFraming(
            edge: isPictures && stem == .imagenet ? image * 8 / 7 : image, size: image, channels: imageChannels)
    }
}

extension RunConfiguration.DataSource {
    /// Whether the images are pictures in files of their own, rather than records or synthetic. Looks for files.
    package var hasPictures: Bool {
        guard let path else { return false }
        return list != nil || !CIFAR.isIn(path) && ImageSet.hasPictures(in: path)
    }
}
