import CKernels
import Support

/// The threads of one rank, the calling one among them.
///
/// Work is cut into the same tasks whatever the number of threads, and each task adds up into memory of its own, so
/// that results do not depend on the number of threads in a single bit.
package final class WorkerPool {
    /// Threads, with the calling one.
    package let count: Int
    private let pool: OpaquePointer

    /// The cores that this process may run on.
    package static var allowedCores: Int { Int(ck_allowed_cores()) }

    /// - Throws: `Failure(.usage)` for a number of threads that none can have.
    package static func validate(threads: Int) throws {
        guard (1...1024).contains(threads) else { throw Failure(.usage, "`threads` is \(threads), expected 1 to 1024") }
    }

    /// - Throws: as `validate`, and `Failure(.unavailable)` where the system refuses the threads.
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

    /// Calls `body` once for each task below `tasks`, on any worker, and returns when all are done.
    ///
    /// - Parameter body: may run on several threads at a time, each with a worker's number of its own, below `count`.
    ///   What tasks write must not overlap; allocates nothing.
    @inline(__always)
    package func run(tasks: Int, _ body: (_ task: Int, _ worker: Int) -> Void) {
        ck_pool_run(pool, tasks, body)
    }

    /// Traps, before any other use, where this compiler does not pass closures as `ck_pool_run` expects them.
    private static let checkCallingConvention: Void = {
        guard let pool = ck_pool_create(1) else { return }
        defer { ck_pool_destroy(pool) }
        var calls = 7
        ck_pool_run(pool, 3) { task, worker in calls = 100 * calls + 10 * task + worker }
        precondition(calls == 7_00_10_20, "this compiler passes closures otherwise than thread_pool.c expects")
    }()
}

/// In thread_pool.c, which takes a closure by Swift's own calling convention.
///
/// By C's, with a pointer to the closure (`withoutActuallyEscaping`, a `@convention(c)` function), each call would copy
/// the closure's context to the heap, inlined or not: 28 to 48 allocations per training step, which must make none.
// swift-format-ignore: AlwaysUseLowerCamelCase
@_silgen_name("ck_pool_run")
private func ck_pool_run(_ pool: OpaquePointer, _ tasks: Int, _ body: (_ task: Int, _ worker: Int) -> Void)

/// A pass's groups in at most eight runs, the tasks of a `WorkerPool`: a function of the number of groups alone.
package struct TaskPartition {
    /// The most tasks of a pass.
    package static let maximumCount = 8

    private let groups: Int

    package init(groups: Int) { self.groups = groups }

    package var count: Int { min(groups, Self.maximumCount) }

    /// The groups of a task.
    package func groups(of task: Int) -> Range<Int> {
        task * groups / count..<(task + 1) * groups / count
    }
}
