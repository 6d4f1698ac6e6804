internal import COpenMPI

/// A table of nonblocking MPI calls: started one by one, waited for together, then reused (MPI 3.1, section 3.7).
///
/// MPI writes to a request, and to the buffer of its call, until the request is complete. So the table has one owner,
/// and dropping it with requests in flight traps. After an error, `abandon(keeping:)` leaks what MPI may still write
/// to.
struct RequestTable: ~Copyable {
    private var requests: UnsafeMutableBufferPointer<MPI_Request?>
    /// Requests started since the last wait.
    private(set) var startedCount = 0

    /// - Parameter capacity: the maximum number of calls in flight.
    init(capacity: Int) {
        requests = .allocate(capacity: capacity)
        requests.initialize(repeating: cmpi_request_null())
    }

    deinit {
        precondition(startedCount == 0, "\(startedCount) MPI requests dropped in flight")
        requests.deallocate()
    }

    /// Makes a nonblocking call, which is passed the address of its request. Collective if the call is.
    ///
    /// - Precondition: fewer than `capacity` requests are in flight.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error. The request then counts as in flight.
    mutating func start(_ name: String, _ call: (UnsafeMutablePointer<MPI_Request?>) -> Int32) throws {
        precondition(startedCount < requests.count, "more than \(requests.count) MPI requests in flight")
        let request = requests.baseAddress! + startedCount
        startedCount += 1
        try checked(name, call(request))
    }

    /// Progresses the calls in flight without waiting for them (`MPI_Testall`): Open MPI makes progress only while it
    /// is called. Not collective.
    ///
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    func progress() throws {
        guard startedCount > 0 else { return }
        var allDone: Int32 = 0
        try checked(
            "MPI_Testall",
            MPI_Testall(Int32(startedCount), requests.baseAddress, &allDone, cmpi_statuses_ignore()))
    }

    /// Whether a call is complete (`MPI_Test`, which also progresses the others). Not collective.
    ///
    /// - Parameter index: of the call, in the order of their starts.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    func isComplete(_ index: Int) throws -> Bool {
        precondition(index < startedCount, "call \(index) of \(startedCount) is not in flight")
        var isDone: Int32 = 0
        try checked("MPI_Test", MPI_Test(requests.baseAddress! + index, &isDone, cmpi_status_ignore()))
        return isDone != 0
    }

    /// Waits until all calls are complete (`MPI_Wait`) and empties the table. Collective if the calls are.
    ///
    /// Waits for one call after the other, so that a message can name the one a rank is stuck in; each wait progresses
    /// all of them.
    ///
    /// - Parameters:
    ///   - name: what to call the calls in `ProgressBeacon`.
    ///   - completed: called with the index of each call, in their order, once it is complete.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error, or what `completed` throws. The requests then count as
    ///   in flight.
    mutating func waitForAll(
        as name: StaticString, on communicator: Communicator, completed: (Int) throws -> Void = { _ in }
    ) throws {
        for index in 0..<startedCount {
            communicator.progress.enter(name, index + 1, of: startedCount)
            let request = requests.baseAddress! + index
            try communicator.collective("MPI_Wait") { MPI_Wait(request, cmpi_status_ignore()) }
            try completed(index)
        }
        startedCount = 0
    }

    /// Leaks the requests in flight and the buffer that MPI may still write to. The table cannot be used afterwards.
    mutating func abandon(keeping buffer: AnyObject) {
        guard startedCount > 0 else { return }
        _ = Unmanaged.passRetained(buffer)
        requests = UnsafeMutableBufferPointer(start: nil, count: 0)
        startedCount = 0
    }
}
