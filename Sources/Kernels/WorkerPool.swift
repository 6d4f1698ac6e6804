import CKernels
import Support

/// The threads of one rank, including the calling one.
///
/// Work is divided into the same tasks for any number of threads, and each task accumulates into memory of its own:
/// results are bit-identical for any number of threads.
package final class WorkerPool {
    /// The number of threads, including the calling one.
    package let count: Int
    private let pool: OpaquePointer

    /// The cores that this process may run on.
    package static var allowedCores: Int { Int(ck_allowed_cores()) }

    /// - Throws: `Failure(.usage)` if `threads` is out of range.
    package static func validate(threads: Int) throws {
        guard (1...1024).contains(threads) else { throw Failure(.usage, "`threads` is \(threads), expected 1 to 1024") }
    }

    /// - Throws: as `validate`; `Failure(.unavailable)` if the system refuses the threads.
    package init(threads: Int) throws {
        try Self.validate(threads: threads)
        Self.checkCallingConvention
        guard let pool = ck_pool_create(Int32(threads)) else {
            throw Failure(.unavailable, "the system refuses \(threads) threads; use fewer `threads`")
        }
        count = threads
        self.pool = pool
    }

    deinit { ck_pool_destroy(pool) }

    /// Calls `body` once per task in `0..<tasks`, each on any worker, and returns when all are done. Allocates nothing.
    ///
    /// - Parameter body: runs concurrently, on each thread with a different worker number in `0..<count`; tasks must
    ///   not write to the same memory.
    @inline(__always)
    package func run(tasks: Int, _ body: (_ task: Int, _ worker: Int) -> Void) {
        ck_pool_run(pool, tasks, body)
    }

    /// Traps before the first use if this compiler does not pass closures the way `ck_pool_run` expects.
    private static let checkCallingConvention: Void = {
        guard let pool = ck_pool_create(1) else { return }
        defer { ck_pool_destroy(pool) }
        var calls = 7
        ck_pool_run(pool, 3) { task, worker in calls = 100 * calls + 10 * task + worker }
        precondition(calls == 7_00_10_20, "this compiler does not pass closures as thread_pool.c expects")
    }()
}

/// Defined in thread_pool.c; takes a closure by Swift's own calling convention.
///
/// With C's calling convention and a pointer to the closure (`withoutActuallyEscaping`, a `@convention(c)` function)
/// each call would copy the closure's context to the heap: 28 to 48 allocations per training step, which must make
/// none.
// swift-format-ignore: AlwaysUseLowerCamelCase
@_silgen_name("ck_pool_run")
private func ck_pool_run(_ pool: OpaquePointer, _ tasks: Int, _ body: (_ task: Int, _ worker: Int) -> Void)
