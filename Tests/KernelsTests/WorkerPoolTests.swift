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

    @Test(arguments: [(1, 16), (4, 32), (7, 112), (8, 64), (30, 64), (56, 112)])
    func `tasks cover all rows of all groups in order, and differ by at most one group or one unit of rows`(
        _ height: Int, _ lanes: Int
    ) {
        for perRun in [1, 2, 4, height] {
            let units = RowUnits(height: height, inRunsOf: perRun)
            for groups in Array(0...70) + [1000] {
                for most in [8, 11, TaskPartition.maximumCount] {
                    let tasks = TaskPartition(groups: groups, units: units, lanes: lanes, most: most)
                    #expect(tasks.count <= most && (tasks.count > 0) == (groups > 0))
                    let bound = TaskPartition.bound(groups: groups, height: height, lanes: lanes, most: most)
                    #expect(tasks.count <= bound, "memory is reserved for these")
                    let rows = (0..<tasks.count).flatMap { task in
                        tasks.groups(of: task).flatMap { group in tasks.rows(of: task).map { group * height + $0 } }
                    }
                    #expect(rows == Array(0..<groups * height))
                    let sizes = (0..<tasks.count).map { tasks.groups(of: $0).count * tasks.rows(of: $0).count }
                    let step = sizes.contains { $0 > height } ? height : perRun
                    #expect(
                        sizes.allSatisfy { $0 > 0 }
                            && (sizes.max() ?? 0) - (sizes.min() ?? 0) <= max(step, height % perRun + perRun))
                    let cuts = (0..<tasks.count).map { tasks.rows(of: $0).lowerBound }
                    #expect(cuts.allSatisfy { $0 % perRun == 0 || $0 >= height / perRun * perRun })
                }
            }
        }
    }

    @Test func `few groups of many rows are tasks for many threads`() {
        // A rank with 16 images of 224×224: eight groups at 56×56, two at 14×14.
        #expect(TaskPartition(groups: 8, units: RowUnits(height: 56), lanes: 112).count >= 16)
        #expect(TaskPartition(groups: 8, units: RowUnits(height: 56, inRunsOf: 4), lanes: 112).count >= 16)
        #expect(TaskPartition(groups: 2, units: RowUnits(height: 14), lanes: 112).count >= 8)
        // 64 images of 32×32, and of 8×8.
        #expect(TaskPartition(groups: 32, units: RowUnits(height: 32), lanes: 64).count == 32)
        #expect(TaskPartition(groups: 8, units: RowUnits(height: 8), lanes: 64).count == 16)
    }
}
