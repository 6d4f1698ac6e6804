/// Sums small float64 vectors over all ranks, such as the batch statistics that layers need within a step.
package final class StatisticsAllReduce {
    private let communicator: Communicator
    private var pass: StaticString = "statistics"
    /// The number of sums since the pass began.
    private var count = 0

    package init(communicator: Communicator) {
        self.communicator = communicator
    }

    /// Begins a pass over the network. Messages about a waiting rank name the pass and the number of the sum in it. Not
    /// collective.
    package func beginPass(_ name: StaticString) {
        pass = name
        count = 0
        communicator.progress.enter(name)
    }

    /// Collective: replaces each value by its sum over all ranks (`MPI_Allreduce`). All ranks get the same bits.
    ///
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    package func sum(_ values: consuming MutableSpan<Double>) throws {
        count += 1
        guard communicator.size > 1 else { return }
        communicator.progress.enter(pass, count)
        try communicator.allReduceSum(values)
    }
}
