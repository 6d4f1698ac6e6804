import Kernels

/// Sums over all ranks. Through this protocol the network, which does not know MPI, gets the batch statistics of the
/// global batch.
package protocol GlobalSums: AnyObject {
    /// Replaces each value by its sum over all ranks. Collective: all ranks make the same calls in the same order, with
    /// the same number of values.
    ///
    /// - Throws: what the communication throws.
    func sum(_ values: UnsafeMutableBufferPointer<Double>) throws
}

/// The sums of a single process: leaves the values unchanged.
package final class LocalSums: GlobalSums {
    package init() {}
    package func sum(_ values: UnsafeMutableBufferPointer<Double>) {}
}

/// One pass of the network over a batch, as its layers see it.
struct PassContext {
    /// Whether norms take batch statistics and dropout is on.
    private(set) var training: Bool
    /// Whether the channels that a block gains are summed for their batch statistics: a part that is not in training may
    /// produce what a norm reads that is.
    private(set) var summingFeatures: Bool
    /// This rank's number of images.
    let count: Int
    /// The number of images that batch statistics are of: the global batch, or a group of this rank's images.
    let statisticsCount: Int
    /// One dropout key per image of this rank.
    let dropoutKeys: UnsafePointer<UInt64>?
    /// Nil where batch statistics are of this rank's images alone.
    let sums: (any GlobalSums)?
    /// What collects the batch statistics of a group; nil where they move the running statistics at once.
    let groups: ImageGroups?
    let clock: PhaseClock

    init(
        training: Bool, count: Int, statisticsCount: Int, dropoutKeys: UnsafePointer<UInt64>?,
        sums: (any GlobalSums)?, groups: ImageGroups? = nil, clock: PhaseClock
    ) {
        (self.training, summingFeatures) = (training, training)
        self.count = count
        self.statisticsCount = statisticsCount
        self.dropoutKeys = dropoutKeys
        self.sums = sums
        self.groups = groups
        self.clock = clock
    }

    /// A pass with the running statistics, without communication.
    init(evaluating count: Int, clock: PhaseClock) {
        self.init(
            training: false, count: count, statisticsCount: count, dropoutKeys: nil, sums: nil, clock: clock)
    }

    /// The same with the running statistics and without dropout.
    func evaluating(summingFeatures: Bool) -> PassContext {
        var copy = self
        (copy.training, copy.summingFeatures) = (false, summingFeatures)
        return copy
    }

    /// Replaces each value by its sum over the ranks whose images batch statistics are of. Collective if these are all.
    func sumOverRanks(_ values: UnsafeMutableBufferPointer<Double>) throws {
        guard let sums else { return }
        clock.enter(.statisticsSync)
        try sums.sum(values)
        clock.enter(.other)
    }
}
