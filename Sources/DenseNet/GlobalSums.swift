import Kernels

/// Adds numbers up over all ranks: how the network, which knows no MPI, makes its batch statistics those of the global
/// batch.
package protocol GlobalSums: AnyObject {
    /// Replaces each value by its sum over all ranks. Collective: every rank calls it with as many values, in the same
    /// order.
    ///
    /// - Throws: what the communication throws.
    func sum(_ values: UnsafeMutableBufferPointer<Double>) throws
}

/// The sums of a single process: the values themselves.
package final class LocalSums: GlobalSums {
    package init() {}
    package func sum(_ values: UnsafeMutableBufferPointer<Double>) {}
}

/// One pass of the network over a batch: what every layer needs to know of it.
struct PassContext {
    /// Whether batch statistics are computed and dropout is on.
    let training: Bool
    /// Images of this rank's part.
    let count: Int
    /// Images of the global batch.
    let globalCount: Int
    /// One key per image of this rank, what dropout is drawn from.
    let dropoutKeys: UnsafePointer<UInt64>?
    let sums: any GlobalSums
    let clock: PhaseClock

    init(
        training: Bool, count: Int, globalCount: Int, dropoutKeys: UnsafePointer<UInt64>?, sums: any GlobalSums,
        clock: PhaseClock
    ) {
        self.training = training
        self.count = count
        self.globalCount = globalCount
        self.dropoutKeys = dropoutKeys
        self.sums = sums
        self.clock = clock
    }

    /// A pass with the running statistics, which needs nothing of other ranks.
    init(evaluating count: Int, clock: PhaseClock) {
        self.init(
            training: false, count: count, globalCount: count, dropoutKeys: nil, sums: LocalSums(), clock: clock)
    }

    /// Replaces values by their sums over all ranks. Collective.
    func sumOverRanks(_ values: UnsafeMutableBufferPointer<Double>) throws {
        clock.enter(.statisticsSync)
        try sums.sum(values)
        clock.enter(.other)
    }
}
