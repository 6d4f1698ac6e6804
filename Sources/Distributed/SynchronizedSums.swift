import Support

/// Sums over all ranks, in float64, of the small vectors that the layers ask for in the middle of a step.
package final class SynchronizedSums {
    /// How often `sum` has been called, in a world of one as well.
    package private(set) var calls = 0
    /// Seconds spent in `sum` so far, waiting for slower ranks included.
    package private(set) var seconds = 0.0

    private let communicator: Communicator
    private var pass: StaticString = "statistics"
    private var callsBeforePass = 0

    package init(communicator: Communicator) {
        self.communicator = communicator
    }

    /// From now on sums are of a new pass over the network, and are counted from 1 in a message that names one.
    package func beginPass(_ name: StaticString) {
        pass = name
        callsBeforePass = calls
        communicator.stages.enter(name)
    }

    /// Collective: replaces each value by its sum over all ranks (`MPI_Allreduce`). All ranks get the same bits.
    ///
    /// - Throws: `.unavailable` if MPI reports an error.
    package func sum(_ values: UnsafeMutableBufferPointer<Double>) throws {
        calls += 1
        guard communicator.size > 1 else { return }
        let begin = monotonicSeconds()
        communicator.stages.enter(pass, calls - callsBeforePass)
        try communicator.allReduceSum(values)
        seconds += monotonicSeconds() - begin
    }
}
