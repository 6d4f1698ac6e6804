import Dispatch
import Glibc
import Synchronization

/// A thread that does one job at a time, each with an input of its own, while its owner does something else.
///
/// One thread at a time may call it. A job allocates nothing beyond what its body does. Dropping the object waits for a
/// job that is under way and ends the thread.
package final class BackgroundJob<Input: Sendable> {
    /// Whether a job was started that has not been waited for.
    package private(set) var isUnderWay = false
    private let shared = Shared()
    private let thread: pthread_t

    /// - Parameters:
    ///   - refusal: what the message begins with where the system refuses the thread.
    ///   - body: does a job. The thread keeps it, so it must not hold the owner of this object.
    /// - Throws: `Failure(.unavailable)` when the system refuses the thread.
    package init(refusal: String, _ body: sending @escaping (Input) throws -> Void) throws {
        thread = try startThread(refusal: refusal) { [shared] in shared.run(body) }
    }

    deinit {
        if isUnderWay { shared.done.wait() }
        shared.isEnding.store(true, ordering: .releasing)
        shared.begin.signal()
        pthread_join(thread, nil)
    }

    /// Whether the job under way has failed already; `wait` throws why.
    package var hasFailed: Bool { shared.hasFailed.load(ordering: .acquiring) }

    /// - Precondition: no job is under way.
    package func start(_ input: Input) {
        precondition(!isUnderWay, "a background job was started while one is under way")
        isUnderWay = true
        shared.input = input
        shared.begin.signal()
    }

    /// Waits for the job under way, if any.
    ///
    /// - Throws: what the job has thrown.
    package func wait() throws {
        guard isUnderWay else { return }
        shared.done.wait()
        isUnderWay = false
        guard let failure = shared.failure else { return }
        shared.failure = nil
        shared.hasFailed.store(false, ordering: .releasing)
        throw failure
    }

    /// What both threads see. The semaphores order all accesses, hence `@unchecked Sendable`.
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
