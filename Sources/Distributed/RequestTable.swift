internal import COpenMPI

/// A table of nonblocking MPI calls: started one after the other, waited for together, then used anew (MPI 3.1,
/// section 3.7).
///
/// MPI writes into a request, and into the buffer of its call, until the request is complete. So the table has one
/// owner, and dropping it with requests in flight is a trap. After an error, when nobody will wait any more,
/// `abandon(keeping:)` gives what MPI may still touch away for good.
struct RequestTable: ~Copyable {
    private var requests: UnsafeMutableBufferPointer<MPI_Request?>
    /// Requests that have been started since the last wait.
    private(set) var startedCount = 0

    /// - Parameter capacity: calls that can be in flight at a time.
    init(capacity: Int) {
        requests = .allocate(capacity: capacity)
        requests.initialize(repeating: cmpi_request_null())
    }

    deinit {
        precondition(startedCount == 0, "\(startedCount) MPI requests are dropped in flight")
        requests.deallocate()
    }

    /// Makes a nonblocking call, which gets the place for its request. Not collective itself; the call may be.
    ///
    /// - Precondition: less than `capacity` are in flight.
    /// - Throws: `Failure(.unavailable)` when MPI reports an error. The request then counts as in flight.
    mutating func start(_ name: String, _ call: (UnsafeMutablePointer<MPI_Request?>) -> Int32) throws {
        precondition(startedCount < requests.count, "more than \(requests.count) MPI requests in flight")
        let request = requests.baseAddress! + startedCount
        startedCount += 1
        try checked(name, call(request))
    }

    /// Progresses the calls in flight without waiting for them (`MPI_Testall`): Open MPI works on them only while it is
    /// called. Not collective.
    ///
    /// - Throws: `Failure(.unavailable)` when MPI reports an error.
    func progress() throws {
        guard startedCount > 0 else { return }
        var allDone: Int32 = 0
        try checked(
            "MPI_Testall",
            MPI_Testall(Int32(startedCount), requests.baseAddress, &allDone, cmpi_statuses_ignore()))
    }

    /// Waits until all calls are complete (`MPI_Wait`); then the table is empty. Collective if the calls are.
    ///
    /// One after the other, so that a message can say which one a rank waits in; each wait progresses all of them.
    ///
    /// - Parameter name: what the calls are, for `ProgressBeacon`.
    /// - Throws: `Failure(.unavailable)` when MPI reports an error. The requests then count as in flight.
    mutating func waitForAll(as name: StaticString, on communicator: Communicator) throws {
        for index in 0..<startedCount {
            communicator.progress.enter(name, index + 1, of: startedCount)
            let request = requests.baseAddress! + index
            try communicator.collective("MPI_Wait") { MPI_Wait(request, cmpi_status_ignore()) }
        }
        startedCount = 0
    }

    /// Never frees the requests in flight, nor the buffer that MPI may still write into. The table is of no use
    /// afterwards.
    mutating func abandon(keeping buffer: AnyObject) {
        guard startedCount > 0 else { return }
        _ = Unmanaged.passRetained(buffer)
        requests = UnsafeMutableBufferPointer(start: nil, count: 0)
        startedCount = 0
    }
}
