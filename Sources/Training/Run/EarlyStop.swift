import DataParallel

/// Whether a run ends before its last epoch, since no epoch has been better for a while: rank zero decides, from what the
/// run folder keeps, so a run that is resumed decides the same.
package final class EarlyStop {
    /// Epochs without a better one after which the run ends; nil for a run that does not end early.
    private let patience: Int?
    private let measure: BestMeasure
    private let communicator: Communicator
    /// On rank zero: the best epoch's number, 0 before there is one, and value.
    private var best: (epoch: Int, value: Double?) = (0, nil)
    /// Whether the run has ended early; the same on all ranks.
    private(set) var hasEnded = false

    init(_ configuration: RunConfiguration, _ communicator: Communicator) {
        (patience, measure, self.communicator) = (configuration.earlyStop, configuration.bestBy, communicator)
    }

    /// Takes note of the epochs that are done when a start of the run begins. Collective.
    ///
    /// - Parameter epochs: of the run, in their order, on rank zero.
    func begin(after epochs: [EpochMetrics]) throws {
        for metrics in epochs { keep(metrics.deciding, epoch: metrics.epoch) }
        try decide(epoch: epochs.last?.epoch ?? 0)
    }

    /// Takes note of an epoch's result, of the average where there is one. Collective.
    ///
    /// - Returns: whether the run ends with the epoch.
    func add(_ result: TestResult, epoch: Int) throws -> Bool {
        keep(result, epoch: epoch)
        try decide(epoch: epoch)
        return hasEnded
    }

    private func keep(_ result: TestResult, epoch: Int) {
        let value = measure.value(of: result)
        if measure.isBetter(value, than: best.value) { best = (epoch, value) }
    }

    private func decide(epoch: Int) throws {
        guard let patience else { return }
        hasEnded = try communicator.broadcast(epoch - best.epoch >= patience ? Int32(1) : 0, from: 0) > 0
    }

    /// Why the run has ended early, on rank zero; nil where it has not.
    package var reason: String? {
        guard hasEnded, let patience else { return nil }
        let since = best.epoch > 0 ? "since epoch \(best.epoch)" : "from the first epoch on"
        return "ended early: no better \(measure.words) \(since), for \(patience) epoch\(patience == 1 ? "" : "s")"
    }
}
