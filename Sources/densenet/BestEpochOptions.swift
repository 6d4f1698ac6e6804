import ArgumentParser
import Training

/// Which epoch is the best, and how long a run waits for a better one.
struct BestEpochOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Stop once so many epochs in a row were not better, by --best-by (default: after the last epoch).",
            valueName: "epochs"))
    var earlyStop: Int?

    @Option(
        help: ArgumentHelp(
            "What decides on the test images which epoch is best: macro-recall and auroc count all classes the same (default: \(RunConfiguration.standard.bestBy.rawValue)).",
            valueName: "measure"))
    var bestBy: BestMeasure?

    /// Sets what is given.
    func apply(to run: inout RunConfiguration) {
        run.earlyStop = earlyStop ?? run.earlyStop
        run.bestBy = bestBy ?? run.bestBy
    }
}

extension BestMeasure: ExpressibleByArgument {}
