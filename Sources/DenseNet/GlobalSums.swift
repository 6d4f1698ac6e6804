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
    /// Whether batch statistics are computed and dropout is on.
    let training: Bool
    /// This rank's number of images.
    let count: Int
    /// The number of images in the global batch.
    let globalCount: Int
    /// One dropout key per image of this rank.
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

    /// A pass with the running statistics, without communication.
    init(evaluating count: Int, clock: PhaseClock) {
        self.init(
            training: false, count: count, globalCount: count, dropoutKeys: nil, sums: LocalSums(), clock: clock)
    }

    /// Replaces each value by its sum over all ranks. Collective.
    func sumOverRanks(_ values: UnsafeMutableBufferPointer<Double>) throws {
        clock.enter(.statisticsSync)
        try sums.sum(values)
        clock.enter(.other)
    }
}
