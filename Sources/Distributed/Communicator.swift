internal import COpenMPI
import Support

/// A group of ranks and their collective operations (MPI 3.1, chapters 5 and 6).
///
/// All ranks must make the same collective calls in the same order, with the same number of elements unless a call says
/// otherwise. A collective call blocks until this rank's part is done and throws `Failure(.unavailable)` if MPI reports
/// an error. With one rank, no MPI calls are made.
///
/// Not thread-safe: only the main thread may make calls (`MPI_THREAD_FUNNELED`).
public final class Communicator {
    /// This process's rank, in `0..<size`.
    public let rank: Int
    /// The number of ranks.
    public let size: Int
    /// This process's rank on its host, in `0..<localSize`.
    package let localRank: Int
    /// The number of ranks on this host.
    package let localSize: Int
    /// The host's name (`MPI_Get_processor_name`).
    package let hostName: String
    /// Records what this rank is doing, including each collective call.
    package let progress = ProgressBeacon()
    /// The failure that all ranks know of, if any; see `markAgreed`.
    var agreedFailure: Failure?

    let handle: MPI_Comm
    /// The ranks of this host, in the order of their ranks.
    let hostHandle: MPI_Comm
    /// The ranks with this one's place on their hosts, in the order of their ranks.
    let acrossHostsHandle: MPI_Comm
    /// Shared memory in use; see `HostBuffers`.
    var windows: [SharedWindow] = []

    /// Collective (`MPI_Comm_split_type`, `MPI_Comm_split`).
    init(handle: MPI_Comm) throws {
        self.handle = handle
        (rank, size) = try Self.rankAndSize(of: handle)
        var host: MPI_Comm?
        try checked(
            "MPI_Comm_split_type", MPI_Comm_split_type(handle, Int32(MPI_COMM_TYPE_SHARED), 0, cmpi_info_null(), &host))
        hostHandle = host!
        (localRank, localSize) = try Self.rankAndSize(of: hostHandle)
        var across: MPI_Comm?
        try checked("MPI_Comm_split", MPI_Comm_split(handle, Int32(localRank), 0, &across))
        acrossHostsHandle = across!
        hostName = try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_PROCESSOR_NAME) + 1) {
            name in
            name.initialize(repeating: 0)
            var length: Int32 = 0
            try checked("MPI_Get_processor_name", MPI_Get_processor_name(name.baseAddress, &length))
            return String(cString: name.baseAddress!)
        }
    }

    private static func rankAndSize(of handle: MPI_Comm) throws -> (rank: Int, size: Int) {
        var rank: Int32 = 0
        var size: Int32 = 0
        try checked("MPI_Comm_rank", MPI_Comm_rank(handle, &rank))
        try checked("MPI_Comm_size", MPI_Comm_size(handle, &size))
        return (Int(rank), Int(size))
    }

    // MARK: Reductions

    /// Collective: replaces each element by its sum over all ranks (`MPI_Allreduce`). All ranks get the same bits.
    public func allReduceSum<T: MPIElement>(_ values: consuming MutableSpan<T>) throws {
        try allReduce(values, cmpi_sum())
    }

    /// Collective: the sum of each element over all ranks (`MPI_Allreduce`). All ranks get the same bits.
    public func allReduceSum<T: MPIElement>(_ values: [T]) throws -> [T] {
        var sums = values
        try allReduceSum(sums.mutableSpan)
        return sums
    }

    /// Collective: the sum of a value over all ranks (`MPI_Allreduce`). All ranks get the same bits.
    public func allReduceSum<T: MPIElement>(_ value: T) throws -> T { try allReduceSum([value])[0] }

    /// Collective: replaces each element by its maximum over all ranks (`MPI_Allreduce`).
    public func allReduceMax<T: MPIElement>(_ values: consuming MutableSpan<T>) throws {
        try allReduce(values, cmpi_max())
    }

    /// Collective: the maximum of each element over all ranks (`MPI_Allreduce`).
    public func allReduceMax<T: MPIElement>(_ values: [T]) throws -> [T] {
        var maxima = values
        try allReduceMax(maxima.mutableSpan)
        return maxima
    }

    /// Collective: the maximum of a value over all ranks (`MPI_Allreduce`).
    public func allReduceMax<T: MPIElement>(_ value: T) throws -> T { try allReduceMax([value])[0] }

    private func allReduce<T: MPIElement>(_ values: consuming MutableSpan<T>, _ operation: MPI_Op) throws {
        guard size > 1 else { return }
        try values.withUnsafeMutableBufferPointer { values in
            for chunk in chunks(of: values.count) {
                try collective("MPI_Allreduce") {
                    MPI_Allreduce(
                        cmpi_in_place(), values.baseAddress! + chunk.lowerBound, Int32(chunk.count), T.datatype.handle,
                        operation, handle)
                }
            }
        }
    }

    // MARK: Broadcasts

    /// Collective: replaces every rank's elements by those of rank `root` (`MPI_Bcast`).
    public func broadcast<T: MPIElement>(_ values: consuming MutableSpan<T>, from root: Int) throws {
        guard size > 1 else { return }
        try values.withUnsafeMutableBufferPointer { values in
            for chunk in chunks(of: values.count) {
                try collective("MPI_Bcast") {
                    MPI_Bcast(
                        values.baseAddress! + chunk.lowerBound, Int32(chunk.count), T.datatype.handle, Int32(root),
                        handle)
                }
            }
        }
    }

    /// Collective: the values of rank `root`; of the other ranks only the number of values matters (`MPI_Bcast`).
    public func broadcast<T: MPIElement>(_ values: [T], from root: Int) throws -> [T] {
        var values = values
        try broadcast(values.mutableSpan, from: root)
        return values
    }

    /// Collective: the value of rank `root`; other ranks' values do not matter (`MPI_Bcast`).
    public func broadcast<T: MPIElement>(_ value: T, from root: Int) throws -> T {
        try broadcast([value], from: root)[0]
    }

    /// Collective: the bytes of rank `root`; the other ranks need not know how many (`MPI_Bcast`, twice).
    ///
    /// - Parameter bytes: what rank `root` sends; ignored on other ranks.
    /// - Precondition: `bytes` is not nil on rank `root`.
    package func broadcast(bytes: [UInt8]?, from root: Int) throws -> [UInt8] {
        precondition(rank != root || bytes != nil, "the root of a broadcast has nothing to send")
        let count = try Int(broadcast(Int64(bytes?.count ?? 0), from: root))
        if rank == root, let bytes { return try broadcast(bytes, from: root) }
        return try broadcast([UInt8](repeating: 0, count: count), from: root)
    }

    // MARK: Gathers

    /// Collective: the values of all ranks, in rank order (`MPI_Allgather`).
    public func allGather<T: MPIElement>(_ value: T) throws -> [T] {
        var values = [T](repeating: value, count: size)
        guard size > 1 else { return values }
        try collective("MPI_Allgather") {
            MPI_Allgather(cmpi_in_place(), 0, T.datatype.handle, &values, 1, T.datatype.handle, handle)
        }
        return values
    }

    /// Collective: the bytes of all ranks, in rank order; their numbers may differ (`MPI_Allgather` of the counts,
    /// `MPI_Allgatherv`).
    ///
    /// - Throws: also `Failure(.unavailable)`, on all ranks, if the total exceeds MPI's 32-bit counts.
    package func allGather(bytes: [UInt8]) throws -> [[UInt8]] {
        guard size > 1 else { return [bytes] }
        let counts = try allGather(Int64(bytes.count)).map { Int($0) }
        let total = counts.reduce(0, +)
        guard total <= Int(Int32.max) else {
            throw markAgreed(
                Failure(.unavailable, "all ranks together gather \(total) bytes, more than the limit of \(Int32.max)"))
        }
        let offsets = counts.indices.map { counts[..<$0].reduce(0, +) }
        var all = [UInt8](repeating: 0, count: total)
        all.replaceSubrange(offsets[rank]..<offsets[rank] + bytes.count, with: bytes)
        let (counts32, offsets32) = (counts.map { Int32($0) }, offsets.map { Int32($0) })
        try collective("MPI_Allgatherv") {
            MPI_Allgatherv(
                cmpi_in_place(), 0, UInt8.datatype.handle, &all, counts32, offsets32, UInt8.datatype.handle, handle)
        }
        return zip(offsets, counts).map { Array(all[$0..<$0 + $1]) }
    }

    // MARK: Synchronization

    /// Collective over the ranks of the host: returns once all of them have called it (`MPI_Barrier`).
    func hostBarrier() throws { try collective("MPI_Barrier") { MPI_Barrier(hostHandle) } }

    /// Collective: returns once all ranks have called it (`MPI_Barrier`).
    public func barrier() throws {
        guard size > 1 else { return }
        try collective("MPI_Barrier") { MPI_Barrier(handle) }
    }

    /// Makes a blocking collective MPI call and records its begin and end in `progress`.
    func collective(_ name: String, _ call: () -> Int32) throws {
        progress.beginCall()
        let code = call()
        progress.endCall()
        try checked(name, code)
    }
}
