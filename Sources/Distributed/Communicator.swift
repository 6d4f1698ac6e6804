internal import COpenMPI
import Support

/// A group of ranks and what they do together (MPI 3.1, chapters 5 and 6).
///
/// A collective call must be made by all ranks, in the same order, with buffers of the same size; it blocks until this
/// rank's part is done. In a world of one nothing is sent and no MPI call is made. Not thread-safe: the main thread
/// makes all calls.
package final class Communicator {
    /// This process among the `size` ranks, counted from zero.
    package let rank: Int
    package let size: Int
    /// This process among the `localSize` ranks on the same host, counted from zero.
    package let localRank: Int
    package let localSize: Int
    /// The host's name (`MPI_Get_processor_name`).
    package let hostName: String
    /// Where this rank stands; each collective call is noted in it.
    package let stages = StageBoard()
    /// What `agree` has thrown last, on all ranks.
    var agreedFailure: Failure?

    let handle: MPI_Comm

    /// Collective.
    init(handle: MPI_Comm) throws {
        self.handle = handle
        (rank, size) = try Self.place(in: handle)
        var host: MPI_Comm?
        try checked(
            "MPI_Comm_split_type", MPI_Comm_split_type(handle, Int32(MPI_COMM_TYPE_SHARED), 0, cmpi_info_null(), &host))
        (localRank, localSize) = try Self.place(in: host!)
        try checked("MPI_Comm_free", MPI_Comm_free(&host))
        hostName = try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_PROCESSOR_NAME) + 1) {
            name in
            name.initialize(repeating: 0)
            var length: Int32 = 0
            try checked("MPI_Get_processor_name", MPI_Get_processor_name(name.baseAddress, &length))
            return String(cString: name.baseAddress!)
        }
    }

    private static func place(in handle: MPI_Comm) throws -> (rank: Int, size: Int) {
        var rank: Int32 = 0
        var size: Int32 = 0
        try checked("MPI_Comm_rank", MPI_Comm_rank(handle, &rank))
        try checked("MPI_Comm_size", MPI_Comm_size(handle, &size))
        return (Int(rank), Int(size))
    }

    // MARK: Reductions

    /// Collective: replaces each element by its sum over all ranks (`MPI_Allreduce`). All ranks get the same bits.
    ///
    /// - Throws: `.unavailable`, as all collective calls do when MPI reports an error.
    package func allReduceSum<T: MPIElement>(_ values: UnsafeMutableBufferPointer<T>) throws {
        try allReduce(values, cmpi_sum())
    }

    /// Collective: replaces each element by its maximum over all ranks (`MPI_Allreduce`).
    package func allReduceMax<T: MPIElement>(_ values: UnsafeMutableBufferPointer<T>) throws {
        try allReduce(values, cmpi_max())
    }

    private func allReduce<T: MPIElement>(_ values: UnsafeMutableBufferPointer<T>, _ operation: MPI_Op) throws {
        guard size > 1, let start = values.baseAddress else { return }
        for chunk in chunks(of: values.count) {
            try collective("MPI_Allreduce") {
                MPI_Allreduce(
                    cmpi_in_place(), start + chunk.lowerBound, Int32(chunk.count), T.datatype, operation, handle)
            }
        }
    }

    // MARK: Broadcasts

    /// Collective: fills the buffer of every rank with that of rank `root` (`MPI_Bcast`).
    package func broadcast<T: MPIElement>(_ values: UnsafeMutableBufferPointer<T>, from root: Int) throws {
        guard size > 1, let start = values.baseAddress else { return }
        for chunk in chunks(of: values.count) {
            try collective("MPI_Bcast") {
                MPI_Bcast(start + chunk.lowerBound, Int32(chunk.count), T.datatype, Int32(root), handle)
            }
        }
    }

    /// Collective: the value of rank `root`; those of the others do not matter.
    package func broadcast<T: MPIElement>(_ value: T, from root: Int) throws -> T {
        var value = value
        try withUnsafeMutablePointer(to: &value) {
            try broadcast(UnsafeMutableBufferPointer(start: $0, count: 1), from: root)
        }
        return value
    }

    /// Collective: the bytes of rank `root`, whose number the others need not know.
    ///
    /// - Parameter bytes: what to send on rank `root`, ignored elsewhere.
    /// - Precondition: `bytes` is not nil on rank `root`.
    package func broadcast(bytes: [UInt8]?, from root: Int) throws -> [UInt8] {
        precondition(rank != root || bytes != nil, "the root of a broadcast has nothing to send")
        let count = try Int(broadcast(Int64(bytes?.count ?? 0), from: root))
        var received = [UInt8](repeating: 0, count: rank == root ? 0 : count)
        if rank == root, let bytes { received = bytes }
        try received.withUnsafeMutableBufferPointer { try broadcast($0, from: root) }
        return received
    }

    // MARK: The rest

    /// Collective: the values of all ranks, in the order of the ranks (`MPI_Allgather`).
    package func allGather(_ value: UInt64) throws -> [UInt64] {
        var value = value
        guard size > 1 else { return [value] }
        var values = [UInt64](repeating: 0, count: size)
        try collective("MPI_Allgather") {
            MPI_Allgather(&value, 1, UInt64.datatype, &values, 1, UInt64.datatype, handle)
        }
        return values
    }

    /// Collective: returns when all ranks have called it (`MPI_Barrier`).
    package func barrier() throws {
        guard size > 1 else { return }
        try collective("MPI_Barrier") { MPI_Barrier(handle) }
    }

    /// Makes a blocking MPI call that all ranks make, and notes when it begins and ends.
    func collective(_ name: String, _ call: () -> Int32) throws {
        stages.beginCall()
        let code = call()
        stages.endCall()
        try checked(name, code)
    }
}
