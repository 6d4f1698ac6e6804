/// Sums small float64 vectors, such as the batch statistics that layers need in the middle of a step, over all ranks.
package final class StatisticsAllReduce {
    private let communicator: Communicator
    private var pass: StaticString = "statistics"
    /// Sums since the pass began, counted with one rank as well.
    private var count = 0

    package init(communicator: Communicator) {
        self.communicator = communicator
    }

    /// Begins a new pass over the network: from now on a message about a rank that waits names it and counts its sums
    /// from 1. Not collective.
    package func beginPass(_ name: StaticString) {
        pass = name
        count = 0
        communicator.progress.enter(name)
    }

    /// Collective: replaces each value by its sum over all ranks (`MPI_Allreduce`). All ranks get the same bits.
    ///
    /// - Throws: `Failure(.unavailable)` when MPI reports an error.
    package func sum(_ values: consuming MutableSpan<Double>) throws {
        count += 1
        guard communicator.size > 1 else { return }
        communicator.progress.enter(pass, count)
        try communicator.allReduceSum(values)
    }
}
