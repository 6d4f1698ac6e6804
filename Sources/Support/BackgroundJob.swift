import Dispatch
import Glibc
import Synchronization

/// A background thread that runs one job at a time, each with its own input.
///
/// Its methods are not thread-safe. Starting a job allocates nothing. Deinitializing the object waits for the job in
/// progress and ends the thread.
package final class BackgroundJob<Input: Sendable> {
    /// Whether a job was started and not yet waited for.
    package private(set) var isPending = false
    private let shared = Shared()
    private let thread: pthread_t

    /// - Parameters:
    ///   - refusal: the beginning of the message if the system refuses the thread.
    ///   - body: runs a job. The thread retains it, so it must not retain the owner of this object.
    /// - Throws: `Failure(.unavailable)` if the system refuses the thread.
    package init(refusal: String, _ body: sending @escaping (Input) throws -> Void) throws {
        thread = try startThread(refusal: refusal) { [shared] in shared.run(body) }
    }

    deinit {
        if isPending { shared.done.wait() }
        shared.isEnding.store(true, ordering: .releasing)
        shared.begin.signal()
        pthread_join(thread, nil)
    }

    /// Whether the current job has already failed; `wait` will throw its error.
    package var hasFailed: Bool { shared.hasFailed.load(ordering: .acquiring) }

    /// - Precondition: `isPending` is false.
    package func start(_ input: Input) {
        precondition(!isPending, "a background job was started while another is pending")
        isPending = true
        shared.input = input
        shared.begin.signal()
    }

    /// Waits for the current job, if any.
    ///
    /// - Throws: what the job threw.
    package func wait() throws {
        guard isPending else { return }
        shared.done.wait()
        isPending = false
        guard let failure = shared.failure else { return }
        shared.failure = nil
        shared.hasFailed.store(false, ordering: .releasing)
        throw failure
    }

    /// The state shared by both threads. The semaphores order all accesses, hence `@unchecked Sendable`.
    private final class Shared: @unchecked Sendable {
        let begin = DispatchSemaphore(value: 0)
        let done = DispatchSemaphore(value: 0)
        let isEnding = Atomic(false)
        let hasFailed = Atomic(false)
        var input: Input?
        var failure: (any Error)?

        func run(_ body: (Input) throws -> Void) {
            while true {
                begin.wait()
                if isEnding.load(ordering: .acquiring) { return }
                do { if let input { try body(input) } } catch {
                    failure = error
                    hasFailed.store(true, ordering: .releasing)
                }
                done.signal()
            }
        }
    }
}
