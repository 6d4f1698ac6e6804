internal import COpenMPI
import Support

/// Sums a flat gradient buffer over all ranks while backward is still filling it, as PyTorch's DistributedDataParallel
/// does (Li et al., "PyTorch Distributed", VLDB 2020, section 3.2.3).
///
/// Backward fills the buffer from front to back and reports its progress, in buckets: contiguous parts of the buffer.
///
/// - Where the ranks of a host see each other's gradients (`HostBuffers`), a bucket is summed once all of them have
///   reported it (`MPI_Ibarrier`), each rank a part of it, in place in the buffer of the host's first rank; then each
///   part over hosts, by the ranks that have it (`MPI_Iallreduce`).
/// - Elsewhere each bucket starts an in-place `MPI_Iallreduce` as soon as it is full. It belongs to MPI until `finish`
///   returns.
///
/// Both add in the same order wherever the ranks are, that of MPI's binomial tree: ranks 0 and 1, 2 and 3 and so on,
/// then these sums in pairs. So the sums have the same bits. A step allocates nothing. With one rank, no MPI calls are
/// made and the gradients are unchanged.
///
/// The object keeps the buffer alive. If an error drops it while buckets are in flight, MPI continues to write, so the
/// buffer is leaked.
package final class GradientAllReduce {
    /// Where the sums are. Without `HostBuffers` these are the gradients themselves.
    package let sums: AlignedBuffer<Float>
    /// The parts of `sums` that this rank may read and use after `finish`, ascending. The ranks of a host have each
    /// element once; without `HostBuffers` every rank has all.
    package let parts: [Range<Int>]

    private let communicator: Communicator
    private let gradients: AlignedBuffer<Float>
    /// The elements that are summed: the first ones.
    private let count: Int
    private let host: HostBuffers?
    private let bucketElements: Int
    private let bucketCount: Int
    /// One per bucket: its all-reduce, or its barrier on the host.
    private var requests: RequestTable
    /// One per bucket: its all-reduce over hosts; none where there is one host.
    private var crossings: RequestTable
    private let crossesHosts: Bool
    private var readyElements = 0
    /// Buckets that are summed over the ranks of the host.
    private var hostSums = 0
    private let flag = AlignedBuffer<Int32>(count: 1)

    /// Called with each part of the sums of a step as soon as it is there, while it is in the cache.
    package typealias PartIsSummed = (UnsafeMutableBufferPointer<Float>) -> Void

    /// - Parameters:
    ///   - gradients: of the same size on all ranks.
    ///   - count: the elements to sum, from the first on; nil for all.
    ///   - host: shared memory, whose `own` is `gradients`; on all ranks or none.
    ///   - bucketElements: elements per bucket, the same on all ranks; the last bucket may be smaller.
    /// - Precondition: `1 ≤ bucketElements ≤ Int32.max`.
    package init(
        communicator: Communicator, gradients: AlignedBuffer<Float>, count: Int? = nil, host: HostBuffers? = nil,
        bucketElements: Int
    ) {
        let count = count ?? gradients.count
        precondition(
            bucketElements >= 1 && bucketElements <= Int(Int32.max), "a bucket cannot have \(bucketElements) elements")
        self.communicator = communicator
        self.gradients = gradients
        self.count = count
        self.host = host
        self.bucketElements = bucketElements
        bucketCount = (count + bucketElements - 1) / bucketElements
        requests = RequestTable(capacity: bucketCount)
        crossesHosts = host != nil && communicator.localSize < communicator.size
        crossings = RequestTable(capacity: crossesHosts ? bucketCount : 0)
        guard let host else {
            (sums, parts) = (gradients, [0..<count])
            return
        }
        precondition(host.own === gradients, "the gradients are not in the shared memory")
        sums = AlignedBuffer(over: host.ofRanks[0], count: count, keeping: host.window)
        let buckets = Self.buckets(of: bucketElements, in: count)
        parts = buckets.map { Self.part(communicator.localRank, of: communicator.localSize, in: $0) }
    }

    deinit {
        requests.abandon(keeping: gradients)
        crossings.abandon(keeping: sums)
    }

    /// Reports that the first `offset` gradients of this rank are final: starts the buckets that end there or before
    /// and progresses those in flight. Does not block.
    ///
    /// Not collective itself: ranks may report different offsets at different times, since all start the buckets in the
    /// same order.
    ///
    /// - Precondition: `offset` is within the buffer and does not decrease within a step.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    package func ready(upTo offset: Int, summed: PartIsSummed = { _ in }) throws {
        precondition(
            offset >= readyElements && offset <= count,
            "gradients ready up to \(offset) after \(readyElements) of \(count)")
        if communicator.size == 1 { summed(gradients[readyElements..<offset]) }
        readyElements = offset
        guard communicator.size > 1 else { return }
        try start(upTo: offset == count ? bucketCount : offset / bucketElements)
        guard let host else { return try requests.progress() }
        while hostSums < requests.startedCount, try requests.isComplete(hostSums) {
            try sumOverHost(host, bucket: hostSums, summed)
        }
        try crossings.progress()
    }

    /// Collective: treats all gradients as final and waits until every bucket is summed (`MPI_Wait`). The next step may
    /// then begin.
    ///
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    package func finish(summed: PartIsSummed = { _ in }) throws {
        guard communicator.size > 1 else {
            summed(gradients[readyElements..<count])
            readyElements = 0
            return
        }
        readyElements = 0
        try start(upTo: bucketCount)
        guard let host else {
            return try requests.waitForAll(as: "gradient bucket", on: communicator) { summed(gradients[bucket($0)]) }
        }
        try requests.waitForAll(as: "gradient bucket", on: communicator) { index in
            if index >= hostSums { try sumOverHost(host, bucket: index, summed) }
        }
        hostSums = 0
        try crossings.waitForAll(as: "gradient bucket across hosts", on: communicator) { summed(sums[parts[$0]]) }
    }

    /// Collective: whether something holds on all ranks (`MPI_Allreduce`), such as that they found `sums` in order.
    package func agree(_ holds: Bool) throws -> Bool {
        communicator.progress.enter("finite check")
        flag.pointer[0] = holds ? 0 : 1
        try communicator.allReduceMax(flag.elements.mutableSpan)
        return flag.pointer[0] == 0
    }

    /// Collective: puts the sums into this rank's gradients, once after `finish`.
    package func gatherSums() throws {
        guard let host else { return }
        try meetHost()
        if !host.isFirstRank { _ = gradients.elements.update(fromContentsOf: sums.elements) }
    }

    /// Collective: returns when all ranks of the host have come here (`MPI_Barrier`) and see what the others wrote to
    /// the buffers that they have in common. Nothing to do without `HostBuffers`.
    package func meetHost() throws {
        guard let host else { return }
        communicator.progress.enter("meeting of the ranks of a host")
        try host.window.synchronize()
        try communicator.hostBarrier()
        try host.window.synchronize()
    }

    // MARK: Buckets

    private func bucket(_ index: Int) -> Range<Int> {
        index * bucketElements..<min((index + 1) * bucketElements, count)
    }

    private static func buckets(of size: Int, in count: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: size).map { $0..<min($0 + size, count) }
    }

    /// The part of a bucket that a rank of the host sums, in whole cache lines; may be empty.
    private static func part(_ rank: Int, of ranks: Int, in bucket: Range<Int>) -> Range<Int> {
        let line = 16
        let size = (bucket.count + ranks * line - 1) / (ranks * line) * line
        let start = min(bucket.lowerBound + rank * size, bucket.upperBound)
        return start..<min(start + size, bucket.upperBound)
    }

    private func start(upTo end: Int) throws {
        if let host, requests.startedCount < end { try host.window.synchronize() }
        while requests.startedCount < end {
            guard host == nil else {
                try requests.start("MPI_Ibarrier") { MPI_Ibarrier(communicator.hostHandle, $0) }
                continue
            }
            let bucket = gradients[bucket(requests.startedCount)]
            try requests.start("MPI_Iallreduce") { request in
                MPI_Iallreduce(
                    cmpi_in_place(), bucket.baseAddress, Int32(bucket.count), Float.datatype.handle, cmpi_sum(),
                    communicator.handle, request)
            }
        }
    }

    /// Adds this rank's part of a bucket over the ranks of the host (`MPI_Reduce_local`), which all have reported it,
    /// and starts to add it over hosts. Every rank's gradients of the part are this rank's to change now.
    private func sumOverHost(_ host: HostBuffers, bucket index: Int, _ summed: PartIsSummed) throws {
        try host.window.synchronize()
        let part = parts[index]
        var distance = 1
        while distance < host.ofRanks.count {
            for rank in stride(from: 0, to: host.ofRanks.count - distance, by: 2 * distance) {
                let code = MPI_Reduce_local(
                    host.ofRanks[rank + distance] + part.lowerBound, host.ofRanks[rank] + part.lowerBound,
                    Int32(part.count), Float.datatype.handle, cmpi_sum())
                try checked("MPI_Reduce_local", code)
            }
            distance *= 2
        }
        hostSums = index + 1
        guard crossesHosts else { return summed(sums[part]) }
        // In place: Open MPI then adds in the order of a binomial tree, whatever the number of hosts.
        try crossings.start("MPI_Iallreduce") { request in
            MPI_Iallreduce(
                cmpi_in_place(), sums.pointer + part.lowerBound, Int32(part.count), Float.datatype.handle, cmpi_sum(),
                communicator.acrossHostsHandle, request)
        }
    }
}
