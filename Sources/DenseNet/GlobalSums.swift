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
package struct Pass {
    /// Whether batch statistics are taken and dropout is on.
    package let training: Bool
    /// Images of this rank's part.
    package let count: Int
    /// Images of the global batch.
    package let globalCount: Int
    /// Keys of the dropout, one an image of this rank; nil without dropout.
    let dropoutKeys: UnsafePointer<UInt64>?
    let sums: any GlobalSums
    let clock: PhaseClock

    /// Replaces values by their sums over all ranks. Collective.
    func sumOverRanks(_ values: UnsafeMutableBufferPointer<Double>) throws {
        clock.enter(.statisticsSync)
        try sums.sum(values)
        clock.enter(.other)
    }
}
