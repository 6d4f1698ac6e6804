import ArgumentParser
import Support
import Training

/// Whose mean and variance batch norm takes in training.
struct StatisticsOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Normalize each n images by their own mean and variance; n divides the batch (default: all images of a step by theirs).",
            valueName: "n"))
    var statisticsGroup: Int?

    @Flag(
        help: "Normalize each rank's images by their own mean and variance; the result depends on the number of ranks.")
    var noSyncBn = false

    /// What is given; nil where nothing is.
    ///
    /// - Throws: `Failure(.usage)` where both options are.
    func value() throws -> BatchStatistics? {
        guard let statisticsGroup else { return noSyncBn ? .rank : nil }
        guard !noSyncBn else {
            throw Failure(
                .usage, "--statistics-group and --no-sync-bn both say whose statistics batch norm takes; leave one out")
        }
        return .group(images: statisticsGroup)
    }
}
