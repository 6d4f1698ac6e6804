import Support

/// Flat buffers of equal size that all ranks of a host see, in one window of shared memory: one of each rank, and some
/// that they have in common.
///
/// Whoever writes orders accesses by collective calls, as `GradientAllReduce` does. The memory lasts as long as
/// something refers to it, and ends with `MPIEnvironment.run`.
package final class HostBuffers {
    /// This rank's buffer.
    package let own: AlignedBuffer<Float>
    /// The buffers in common, of which the host has one each.
    package let common: [AlignedBuffer<Float>]
    /// Whether this rank is the first of its host.
    package let isFirstRank: Bool
    /// The buffers of the host's ranks, in their order.
    let ofRanks: [UnsafeMutablePointer<Float>]
    let window: SharedWindow

    /// Why ranks have no such buffers; the same on all of them.
    package struct Refusal: Error, Equatable {
        /// A clause, such as `each host has one rank`.
        package let reason: String
        /// Whether it lies in the system, which can be mended, rather than in the places of the ranks.
        package let isOfSystem: Bool

        /// A line for the user.
        package var note: String { "the ranks exchange gradients by messages, not in shared memory: \(reason)" }
    }

    /// Collective. Allocates the buffers, zero-initialized.
    ///
    /// The system provides their memory as it is written, and ends a process for which it has none. So a rank writes to
    /// all of it at once rather than in a step: to its own buffer, the first one to those in common.
    ///
    /// - Parameters:
    ///   - count: elements of a buffer, the same on all ranks.
    ///   - commonCount: the number of buffers in common.
    /// - Returns: a refusal where a sum over the ranks of each host, then over hosts, would not add in the order of
    ///   `GradientAllReduce`, or where there is not enough shared memory.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    package static func allocate(
        count: Int, common commonCount: Int, communicator: Communicator
    ) throws -> Result<HostBuffers, Refusal> {
        communicator.progress.enter("shared memory")
        try communicator.freeUnusedWindows()
        let stride = (count + 15) / 16 * 16
        let buffers = communicator.localSize + commonCount
        let needed = buffers * (stride * MemoryLayout<Float>.stride + (1 << 16))
        if let refusal = try Refusal(bytes: needed, on: communicator) { return .failure(refusal) }
        let window = Result {
            let own = communicator.localRank == 0 ? 1 + commonCount : 1
            return try SharedWindow(bytes: own * stride * MemoryLayout<Float>.stride, on: communicator)
        }
        // Where one rank of a host failed, the memory of the others stays until the job ends.
        let failures = try communicator.allReduceMax((try? window.get()) == nil ? Int32(1) : 0)
        guard failures == 0, let window = try? window.get() else {
            return .failure(Refusal(reason: "MPI refuses shared memory on a host", isOfSystem: true))
        }
        communicator.windows.append(window)
        return .success(
            HostBuffers(window, count: count, stride: stride, common: commonCount, communicator: communicator))
    }

    private init(
        _ window: SharedWindow, count: Int, stride: Int, common commonCount: Int, communicator: Communicator
    ) {
        self.window = window
        ofRanks = window.segments.map { $0.bindMemory(to: Float.self, capacity: stride) }
        let first = ofRanks[0]
        own = AlignedBuffer(over: ofRanks[communicator.localRank], count: count, keeping: window)
        common = (1...commonCount).map { AlignedBuffer(over: first + $0 * stride, count: count, keeping: window) }
        isFirstRank = communicator.localRank == 0
    }
}

extension HostBuffers.Refusal {
    /// Collective (`MPI_Allreduce`): why the ranks cannot have `bytes` per host; nil if they can.
    fileprivate init?(bytes: Int, on communicator: Communicator) throws {
        let (size, room, needed) = (communicator.localSize, SharedWindow.room, bytes + bytes / 8)  // some to spare
        let isInBlock = communicator.rank % size == communicator.localRank
        let maxima = try communicator.allReduceMax([Int64(size), Int64(-size), isInBlock ? 0 : 1, Int64(-room.bytes)])
        let left = Int(-maxima[3])
        if let reason = Self.reason(
            worldSize: communicator.size, mostOnHost: Int(maxima[0]), fewestOnHost: Int(-maxima[1]),
            areInBlocks: maxima[2] == 0)
        {
            self.init(reason: reason, isOfSystem: false)
        } else if left < needed {
            self.init(
                reason:
                    "\(room.folder) of a host has \(left >> 20) MiB left, \((needed - 1) >> 20 + 1) are needed (for a "
                    + "container: docker run --shm-size)", isOfSystem: true)
        } else {
            return nil
        }
    }

    /// Why sums over the ranks of each host, then over hosts, would be of no use, or would not add in the order of a
    /// binomial tree over all ranks; nil if they do.
    ///
    /// - Parameters:
    ///   - mostOnHost: the largest number of ranks on a host, `fewestOnHost` the smallest.
    ///   - areInBlocks: whether each rank's number, modulo the number of ranks on its host, is its place on the host. With
    ///     as many ranks on every host, each then has consecutive ones.
    static func reason(worldSize: Int, mostOnHost: Int, fewestOnHost: Int, areInBlocks: Bool) -> String? {
        if worldSize == 1 { return "there is one rank" }
        if mostOnHost == 1 { return "each host has one rank" }
        if mostOnHost == worldSize { return nil }
        let isTree = fewestOnHost == mostOnHost && areInBlocks && mostOnHost.nonzeroBitCount == 1
        return isTree ? nil : "that takes 2, 4, 8, … consecutive ranks on each host, as many as on the others"
    }
}
