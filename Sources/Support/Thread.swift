import Glibc
import SystemPackage

/// Runs `body` on a new thread, which the caller joins or detaches. The thread retains what `body` captures until it
/// returns.
///
/// - Parameter refusal: the beginning of the message if the system refuses the thread, such as `the loader cannot start
///   thread 2`.
/// - Throws: `Failure(.unavailable)` if the system refuses the thread.
package func startThread(refusal: String, _ body: sending @escaping () -> Void) throws -> pthread_t {
    let start = unsafe Unmanaged.passRetained(ThreadBody(body))
    var thread = pthread_t()
    let code = unsafe pthread_create(
        &thread, nil,
        { argument in
            unsafe Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue().body()
            return nil
        }, unsafe start.toOpaque())
    guard code == 0 else {
        unsafe start.release()
        throw Failure(.unavailable, "\(refusal): \(Errno(rawValue: code))")
    }
    return thread
}

private final class ThreadBody {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
}
