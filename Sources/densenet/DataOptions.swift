import ArgumentParser
import Support
import Training

/// The options that name images.
struct DataOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A folder of CIFAR-10 or CIFAR-100 binary files, or its parent; or synthetic (default).", valueName: "path")
    )
    var data: String?

    @Option(help: ArgumentHelp("Use the first N training images only.", valueName: "n"))
    var limitTrain: Int?

    @Option(help: ArgumentHelp("Use the first N test images only.", valueName: "n"))
    var limitTest: Int?

    @Option(help: "channel (default: mean 0, deviation 1 in each channel of the training set), pixel-mean, or none.")
    var normalize: String?

    @Option(help: ArgumentHelp("Means in units of 0 to 1, in place of --normalize; with --std.", valueName: "r,g,b"))
    var mean: String?

    @Option(help: ArgumentHelp("Deviations in units of 0 to 1.", valueName: "r,g,b"))
    var std: String?

    var isGiven: Bool {
        data != nil || limitTrain != nil || limitTest != nil || normalize != nil || mean != nil || std != nil
    }

    var source: RunConfiguration.DataSource {
        let isSynthetic = data == nil || data == "synthetic"
        return RunConfiguration.DataSource(
            path: isSynthetic ? nil : absolutePath(data ?? ""), limitTrain: limitTrain, limitTest: limitTest)
    }

    /// How to normalise; nil where no option says it.
    ///
    /// - Throws: `Failure(.usage)` on an unknown word or options that contradict each other.
    func normalization() throws -> RunConfiguration.NormalizationChoice? {
        if mean != nil || std != nil {
            guard let mean, let std else { throw Failure(.usage, "--mean and --std go together; give both") }
            guard normalize == nil else {
                throw Failure(.usage, "--normalize and --mean both say how to normalise; leave one out")
            }
            return .explicit(mean: mean, std: std)
        }
        switch normalize {
        case nil: return nil
        case "channel": return .channel
        case "pixel-mean": return .pixelMean
        case "none": return RunConfiguration.NormalizationChoice.none
        case let other?: throw Failure(.usage, "--normalize is \(other), expected channel, pixel-mean or none")
        }
    }
}
