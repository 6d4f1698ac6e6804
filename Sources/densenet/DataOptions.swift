import ArgumentParser
import Glibc
import ImageData
import Support
import Training

/// The options that name images and what becomes of their colours.
struct DataOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A folder of pictures: train and test (or val) with a folder of PNG or JPEG files for each class, or only the latter with --split; a folder of CIFAR-10 or CIFAR-100 binary files, or its parent; cifar10 or cifar100: what fetch has brought; synthetic (default).",
            valueName: "folder"), completion: .directory)
    var data: String?

    @OptionGroup var pictures: PictureOptions

    @Option(
        help: ArgumentHelp(
            "What pictures that cannot be read do: stop the run, or skip them (default: stop).", valueName: "action"))
    var onBadImage: RunConfiguration.DataSource.BadImage?

    @Option(
        help: ArgumentHelp(
            "Where to keep decoded pictures, resized to the network's shorter edge: ram, a folder, or none (default).",
            valueName: "place"), completion: .directory)
    var cache: String?

    @Option(
        help: ArgumentHelp(
            "Use the first N training images only; of pictures a choice by their names (default: all).",
            valueName: "n"))
    var limitTrain: Int?

    @Option(help: ArgumentHelp("Use the first N test images only, likewise (default: all).", valueName: "n"))
    var limitTest: Int?

    @Option(
        help: ArgumentHelp(
            "channel: mean 0 and deviation 1 in each channel of the training set (default); pixel-mean: mean 0 in each pixel; none.",
            valueName: "how"))
    var normalize: Normalize?

    @Option(
        help: ArgumentHelp(
            "Means of the colours, in 0 to 1, with --std (default: as --normalize says).", valueName: "r,g,b"),
        transform: { try numberList($0, like: "0.5,0.5,0.5") })
    var mean: [Float]?

    @Option(
        help: ArgumentHelp(
            "Deviations of the colours, in 0 to 1, with --mean (default: as --normalize says).", valueName: "r,g,b"),
        transform: { try numberList($0, like: "0.2,0.2,0.2") })
    var std: [Float]?

    enum Normalize: String, ExpressibleByArgument, CaseIterable {
        case channel
        case pixelMean = "pixel-mean"
        case none

        var choice: RunConfiguration.NormalizationChoice {
            switch self {
            case .channel: .channel
            case .pixelMean: .pixelMean
            case .none: .none
            }
        }
    }

    /// The folder of images; nil for the synthetic set. A name of a data set goes before a folder of that name, which
    /// is written `./cifar10`.
    private var folder: String? {
        guard let data, data != "synthetic" else { return nil }
        return FetchableSet(rawValue: data)?.folder ?? data
    }

    /// - Throws: `Failure(.noInput)` for the name of a data set that was not fetched.
    private func requireFetched() throws {
        guard let data, let set = FetchableSet(rawValue: data), PathKind(of: set.folder).isMissing else { return }
        let other = PathKind(of: data).isMissing ? "" : "; what is in the folder \(data) is --data ./\(data)"
        throw Failure(
            .noInput, "--data \(data): there is no \(set.folder); fetch it with: ./launch.sh fetch \(data)\(other)")
    }

    /// What the ranks have to agree on before they open files: paths may differ, as contents are compared later.
    var kind: NamedValue { NamedValue("--data", folder == nil ? "synthetic" : "a folder") }

    /// What a folder of images holds; nil for the synthetic set. Pictures have no size of their own.
    func shape(seed: UInt64) throws -> (classes: Int, imageSize: Int?)? {
        try requireFetched()
        guard let folder else { return nil }
        var source = RunConfiguration.DataSource(path: folder)
        try apply(to: &source)
        guard source.hasPictures else { return try CIFAR.shape(of: folder) }
        return (try source.listPictures(seed: seed).classNames.count, nil)
    }

    /// Sets what is given.
    ///
    /// - Throws: `Failure(.noInput)` for the name of a data set that was not fetched.
    func apply(to source: inout RunConfiguration.DataSource) throws {
        try requireFetched()
        if data != nil, !isSameFile(folder, source.path) { source.path = folder }
        pictures.apply(to: &source)
        source.onBadImage = onBadImage ?? source.onBadImage
        if let cache { source.cache = cache == "none" ? nil : cache }
        source.limitTrain = limitTrain ?? source.limitTrain
        source.limitTest = limitTest ?? source.limitTest
    }

    /// How to normalize; nil where no option says it.
    ///
    /// - Throws: `Failure(.usage)` for options that contradict each other.
    func normalization() throws -> RunConfiguration.NormalizationChoice? {
        guard mean != nil || std != nil else { return normalize?.choice }
        guard let mean, let std else { throw Failure(.usage, "--mean and --std go together; give both") }
        guard normalize == nil else {
            throw Failure(.usage, "--normalize and --mean both say how to normalize; leave one out")
        }
        return .explicit(mean: mean, std: std)
    }
}

/// Which pictures of a folder are used, and for what.
struct PictureOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Use the pictures below --data that this file lists, a line for each: path,label, and perhaps ,train or ,test; tabs in a .tsv file (default: all that lie there).",
            valueName: "file"), completion: .file())
    var list: String?

    @Option(
        help: ArgumentHelp(
            "The share of pictures to test with where neither folders nor the list say it, by file name and --seed (default: none).",
            valueName: "share"))
    var split: Double?

    /// Sets what is given.
    func apply(to source: inout RunConfiguration.DataSource) {
        if list != nil, !isSameFile(list, source.list) { source.list = list }
        source.split = split ?? source.split
    }
}

/// How training images are changed at random.
struct AugmentationOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Random changes of training images: some of resized-crop, crop, flip, vertical-flip, jitter, cutout, erase, mixup, cutmix, or none. mixup:0.2 and cutmix:1 have their parameters; resized-crop:0.25 takes a quarter of the area at least, in place of 0.08; crop:2 pads two pixels in place of four, reflect-crop the image's mirror in place of black; alternating-flip shows an image's other side in each epoch (default: \(RunConfiguration.standard.augmentation); of pictures, with the ImageNet stem, \(Augmentation.standardOfPictures)).",
            valueName: "list"),
        completion: .list([
            "none", "crop", "flip", "crop,flip", "crop,flip,jitter", "crop,flip,cutout",
            "reflect-crop:2,alternating-flip", "resized-crop,flip",
        ]),
        transform: augmentation)
    var augment: Augmentation?
}

/// The size of test images.
struct TestImageOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Height and width of the images in evaluation (default: the network's, as --image).", valueName: "pixels"))
    var testImage: Int?
}

/// What of each test image the network sees once a run is trained.
struct FinalViewOptions: ParsableArguments {
    @Option(
        name: .customLong("tta"),
        help: ArgumentHelp(
            "With flip, evaluate after the last epoch also by the mean of the outputs for each test image and its mirror image, reported apart (default: \(RunConfiguration.standard.finalViews.rawValue)).",
            valueName: "name"))
    var views: Evaluator.Views?
}

/// What synthetic images are drawn from.
struct ImageSeedOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("What synthetic images are drawn from, from 0 on (default: 1).", valueName: "n"),
        transform: seedNumber)
    var seed: UInt64 = 1
}

/// Whether two paths lead to the same file or folder, be it there or not.
func isSameFile(_ one: String?, _ other: String?) -> Bool {
    func resolved(_ path: String) -> String {
        guard let text = realpath(path, nil) else { return absolutePath(path) }
        defer { free(text) }
        return String(cString: text)
    }
    return one.map(resolved) == other.map(resolved)
}
