internal import COpenMPI
import Support

/// Sums one flat gradient buffer over all ranks while backward still fills it (as PyTorch's DistributedDataParallel
/// does: Li et al., "PyTorch Distributed", VLDB 2020, section 3.2.3).
///
/// Backward fills the buffer front to back and says how far it is; each bucket, a consecutive run of the buffer, starts
/// its in-place `MPI_Iallreduce` as soon as it is full. A bucket that has been started belongs to MPI until `finish`
/// returns. The table of requests is allocated once; a step allocates nothing here. In a world of one no MPI call is
/// made and the gradients stay as they are.
///
/// An error may leave buckets under way, which MPI goes on writing into; requests and buffer are then kept for good.
package final class GradientAllReduce {
    /// Seconds spent in `finish` so far: communication that backward did not hide.
    package private(set) var waitSeconds = 0.0

    private let communicator: Communicator
    private let gradients: UnsafeMutableBufferPointer<Float>
    private let owner: AnyObject
    private let bucketElements: Int
    private let bucketCount: Int
    private let requests: UnsafeMutablePointer<MPI_Request?>
    private var readyElements = 0
    private var startedBuckets = 0

    /// - Parameters:
    ///   - gradients: the flat buffer, of the same size on all ranks.
    ///   - owner: frees the buffer when it goes; kept alive as long as MPI may touch it.
    ///   - bucketElements: elements a bucket, the same on all ranks; the last bucket may be smaller.
    /// - Precondition: `1 ≤ bucketElements ≤ Int32.max`.
    package init(
        communicator: Communicator, gradients: UnsafeMutableBufferPointer<Float>, of owner: AnyObject,
        bucketElements: Int
    ) {
        precondition(
            bucketElements >= 1 && bucketElements <= Int(Int32.max), "no bucket has \(bucketElements) elements")
        self.communicator = communicator
        self.gradients = gradients
        self.owner = owner
        self.bucketElements = bucketElements
        bucketCount = (gradients.count + bucketElements - 1) / bucketElements
        requests = .allocate(capacity: bucketCount)
        requests.initialize(repeating: cmpi_request_null(), count: bucketCount)
    }

    deinit {
        if startedBuckets == 0 { requests.deallocate() } else { _ = Unmanaged.passRetained(owner) }
    }

    /// Collective in its effect: says that `gradients[0 ..< offset]` are final and starts the buckets that end by then.
    ///
    /// Does not block. Each call also moves on the buckets under way: Open MPI works on them only while it is called.
    /// Ranks may report different offsets at different times, since buckets start in the same order everywhere.
    ///
    /// - Precondition: `offset` lies within the buffer and not before that of an earlier call of the same step.
    /// - Throws: `.unavailable` if MPI reports an error.
    package func ready(upTo offset: Int) throws {
        precondition(
            offset >= readyElements && offset <= gradients.count,
            "gradients ready up to \(offset) after \(readyElements) of \(gradients.count)")
        readyElements = offset
        guard communicator.size > 1 else { return }
        try start(upTo: offset == gradients.count ? bucketCount : offset / bucketElements)
        guard startedBuckets > 0 else { return }
        var allDone: Int32 = 0
        try checked("MPI_Testall", MPI_Testall(Int32(startedBuckets), requests, &allDone, cmpi_statuses_ignore()))
    }

    /// Collective: takes all gradients as final, waits until every bucket is summed, and is ready for the next step.
    ///
    /// - Throws: `.unavailable` if MPI reports an error.
    package func finish() throws {
        if communicator.size > 1 {
            let begin = monotonicSeconds()
            try start(upTo: bucketCount)
            // One after the other, so that a message can name the bucket; each wait moves all of them on.
            for bucket in 0..<bucketCount {
                communicator.stages.enter("gradient bucket", bucket + 1, of: bucketCount)
                try communicator.collective("MPI_Wait") { MPI_Wait(requests + bucket, cmpi_status_ignore()) }
            }
            waitSeconds += monotonicSeconds() - begin
        }
        readyElements = 0
        startedBuckets = 0
    }

    private func start(upTo end: Int) throws {
        while startedBuckets < end {
            let bucket = startedBuckets
            let first = bucket * bucketElements
            let count = min(bucketElements, gradients.count - first)
            startedBuckets += 1  // also if the call fails: nobody knows how far it came
            try checked(
                "MPI_Iallreduce",
                MPI_Iallreduce(
                    cmpi_in_place(), gradients.baseAddress! + first, Int32(count), Float.datatype, cmpi_sum(),
                    communicator.handle, requests + bucket))
        }
    }
}
