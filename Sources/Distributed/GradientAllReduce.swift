internal import COpenMPI
import Support

/// Sums a flat gradient buffer over all ranks while backward is still filling it, as PyTorch's DistributedDataParallel
/// does (Li et al., "PyTorch Distributed", VLDB 2020, section 3.2.3).
///
/// Backward fills the buffer from front to back and reports its progress; each bucket, a contiguous part of the buffer,
/// starts its in-place `MPI_Iallreduce` as soon as it is full. A started bucket belongs to MPI until `finish` returns.
/// A step allocates nothing. With one rank, no MPI calls are made and the gradients are unchanged.
///
/// The object keeps the buffer alive. If an error drops it while buckets are in flight, MPI continues to write, so the
/// buffer is leaked.
package final class GradientAllReduce {
    private let communicator: Communicator
    private let gradients: AlignedBuffer<Float>
    private let bucketElements: Int
    private let bucketCount: Int
    private var requests: RequestTable
    private var readyElements = 0

    /// - Parameters:
    ///   - gradients: of the same size on all ranks.
    ///   - bucketElements: elements per bucket, the same on all ranks; the last bucket may be smaller.
    /// - Precondition: `1 ≤ bucketElements ≤ Int32.max`.
    package init(communicator: Communicator, gradients: AlignedBuffer<Float>, bucketElements: Int) {
        precondition(
            bucketElements >= 1 && bucketElements <= Int(Int32.max), "a bucket cannot have \(bucketElements) elements")
        self.communicator = communicator
        self.gradients = gradients
        self.bucketElements = bucketElements
        bucketCount = (gradients.count + bucketElements - 1) / bucketElements
        requests = RequestTable(capacity: bucketCount)
    }

    deinit { requests.abandon(keeping: gradients) }

    /// Reports that the first `offset` gradients of this rank are final: starts the buckets that end there or before
    /// (`MPI_Iallreduce`) and progresses those in flight (`MPI_Testall`). Does not block.
    ///
    /// Not collective itself: ranks may report different offsets at different times, since all start the buckets in the
    /// same order.
    ///
    /// - Precondition: `offset` is within the buffer and does not decrease within a step.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    package func ready(upTo offset: Int) throws {
        precondition(
            offset >= readyElements && offset <= gradients.count,
            "gradients ready up to \(offset) after \(readyElements) of \(gradients.count)")
        readyElements = offset
        guard communicator.size > 1 else { return }
        try start(upTo: offset == gradients.count ? bucketCount : offset / bucketElements)
        try requests.progress()
    }

    /// Collective: treats all gradients as final and waits until every bucket is summed (`MPI_Wait`). The next step may
    /// then begin.
    ///
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    package func finish() throws {
        readyElements = 0
        guard communicator.size > 1 else { return }
        try start(upTo: bucketCount)
        try requests.waitForAll(as: "gradient bucket", on: communicator)
    }

    private func start(upTo end: Int) throws {
        while requests.startedCount < end {
            let first = requests.startedCount * bucketElements
            let bucket = gradients[first..<min(first + bucketElements, gradients.count)]
            try requests.start("MPI_Iallreduce") { request in
                MPI_Iallreduce(
                    cmpi_in_place(), bucket.baseAddress, Int32(bucket.count), Float.datatype.handle, cmpi_sum(),
                    communicator.handle, request)
            }
        }
    }
}
