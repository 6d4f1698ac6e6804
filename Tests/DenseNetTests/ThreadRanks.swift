import DenseNetModel
import Glibc
import Synchronization

/// Sums over threads of this process that act as ranks; all get the same bits.
///
/// A barrier orders all accesses to the slots: the thread sanitizer understands it, unlike a `Mutex`.
final class ThreadSums: @unchecked Sendable {
    private let slots: UnsafeMutableBufferPointer<[Double]>
    private let barrier: Barrier

    init(ranks: Int) {
        slots = .allocate(capacity: ranks)
        slots.initialize(repeating: [])
        barrier = Barrier(ranks)
    }

    deinit {
        slots.deinitialize()
        slots.deallocate()
    }

    /// The view of one rank.
    func rank(_ rank: Int) -> any GlobalSums { Rank(rank, self) }

    private final class Rank: GlobalSums {
        private let rank: Int
        private let all: ThreadSums

        init(_ rank: Int, _ all: ThreadSums) { (self.rank, self.all) = (rank, all) }

        func sum(_ values: UnsafeMutableBufferPointer<Double>) {
            let slots = all.slots
            slots[rank] = Array(values)
            all.barrier.wait()
            precondition(slots.allSatisfy { $0.count == values.count }, "ranks sum different numbers of values")
            for i in values.indices { values[i] = slots.reduce(0) { $0 + $1[i] } }
            // No slot may be written before all threads have read.
            all.barrier.wait()
        }
    }
}

/// Waits until all threads have arrived.
private final class Barrier: @unchecked Sendable {
    private let barrier = UnsafeMutablePointer<pthread_barrier_t>.allocate(capacity: 1)

    init(_ count: Int) { pthread_barrier_init(barrier, nil, UInt32(count)) }
    deinit {
        pthread_barrier_destroy(barrier)
        barrier.deallocate()
    }
    func wait() { pthread_barrier_wait(barrier) }
}

/// Runs `body` on one thread per rank, since ranks wait for one another; returns the results in rank order.
func onRanks<Result: Sendable>(_ count: Int, _ body: @escaping @Sendable (_ rank: Int) throws -> Result) throws
    -> [Result]
{
    let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
    let work = Work { rank in
        let result = Swift.Result { try body(rank) }
        results.withLock { $0[rank] = result }
    }
    var threads = [pthread_t](repeating: 0, count: count)
    for rank in 0..<count {
        let argument = Unmanaged.passRetained(Start(rank: rank, work: work)).toOpaque()
        let code = pthread_create(
            &threads[rank], nil,
            { raw in
                let start = Unmanaged<Start>.fromOpaque(raw!).takeRetainedValue()
                start.work.body(start.rank)
                return nil
            }, argument)
        precondition(code == 0, "no thread for rank \(rank)")
    }
    for thread in threads { pthread_join(thread, nil) }
    return try results.withLock { results in try (0..<count).map { try results[$0]!.get() } }
}

private struct Work: Sendable {
    let body: @Sendable (Int) -> Void
}

private final class Start: Sendable {
    let rank: Int
    let work: Work

    init(rank: Int, work: Work) { (self.rank, self.work) = (rank, work) }
}
