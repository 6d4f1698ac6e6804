import Glibc
import Kernels
import Support
import Synchronization
import Testing

@Suite struct WorkerPoolTests {
    @Test(arguments: [1, 2, 3, 7])
    func `each task runs once, on a worker of the pool, for any numbers of tasks and threads`(_ threads: Int) throws {
        let pool = try WorkerPool(threads: threads)
        #expect(pool.count == threads)
        let done = AlignedBuffer<Int>(count: 100)
        let busy = Atomic<UInt64>(0)
        for round in 1...300 {
            let tasks = round % 100
            pool.run(tasks: tasks) { task, worker in
                // No two running tasks have the same worker number, so a worker's memory is its own.
                let bit = UInt64(1) << UInt64(worker)
                let isAlone = busy.bitwiseOr(bit, ordering: .relaxed).oldValue & bit == 0
                precondition(isAlone && (0..<threads).contains(worker) && (0..<tasks).contains(task))
                done.pointer[task] += 1
                busy.bitwiseXor(bit, ordering: .relaxed)
            }
        }
        for task in 0..<100 { #expect(done.pointer[task] == (1...300).count { task < $0 % 100 }) }
    }

    @Test func `several threads work at the same time, after a pause too`() throws {
        let pool = try WorkerPool(threads: 2)
        for pause in [0, 20_000] as [UInt32] {
            usleep(pause)
            let arrived = Atomic<Int>(0)
            // Each of two tasks waits for the other one.
            pool.run(tasks: 2) { _, _ in
                arrived.add(1, ordering: .sequentiallyConsistent)
                while arrived.load(ordering: .sequentiallyConsistent) < 2 { sched_yield() }
            }
        }
    }

    @Test func `a waiting thread leaves its core to others`() throws {
        let pool = try WorkerPool(threads: 2)
        let arrived = Atomic<Int>(0)
        let started = Atomic<Int>(0)
        // The other thread's task is long, so the calling thread waits; then the other thread waits for a task.
        pool.run(tasks: 2) { _, worker in
            arrived.add(1, ordering: .sequentiallyConsistent)
            while arrived.load(ordering: .sequentiallyConsistent) < 2 { sched_yield() }
            if worker == 0 { started.store(threadMicroseconds(), ordering: .relaxed) } else { usleep(300_000) }
        }
        #expect(threadMicroseconds() - started.load(ordering: .relaxed) < 100_000)
        let times = AlignedBuffer<Int>(count: 2)
        for time in 0..<2 {
            if time > 0 { usleep(300_000) }
            let arrived = Atomic<Int>(0)
            pool.run(tasks: 2) { _, worker in
                arrived.add(1, ordering: .sequentiallyConsistent)
                if worker == 1 { times.pointer[time] = threadMicroseconds() }
                while arrived.load(ordering: .sequentiallyConsistent) < 2 { sched_yield() }
            }
        }
        #expect(times.pointer[1] - times.pointer[0] < 100_000)
    }

    /// The CPU time of the calling thread.
    private func threadMicroseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    }

    @Test func `pools can be created and destroyed repeatedly`() throws {
        for threads in 1...40 {
            let pool = try WorkerPool(threads: 1 + threads % 4)
            let sum = Atomic<Int>(0)
            if threads % 3 > 0 { pool.run(tasks: 9) { task, _ in sum.add(task, ordering: .relaxed) } }
            #expect(sum.load(ordering: .relaxed) == (threads % 3 > 0 ? 36 : 0))
        }
    }

    @Test(arguments: [0, -1, 1025]) func `zero threads and too many are refused`(_ threads: Int) {
        let failure = #expect(throws: Failure.self) { try WorkerPool(threads: threads) }
        #expect(failure?.kind == .usage && failure?.message.contains("\(threads)") == true)
    }

    @Test func `tasks cover all groups in order and differ by at most one group`() {
        for groups in 0...50 {
            let tasks = TaskPartition(groups: groups)
            #expect(tasks.count <= TaskPartition.maximumCount && (tasks.count > 0) == (groups > 0))
            let ranges = (0..<tasks.count).map { tasks.groups(of: $0) }
            #expect(ranges.flatMap(Array.init) == Array(0..<groups))
            let counts = ranges.map(\.count)
            #expect(counts.allSatisfy { $0 > 0 } && (counts.max() ?? 0) - (counts.min() ?? 0) <= 1)
        }
    }
}
