import Glibc
import Kernels
import Support
import Synchronization
import Testing

@Suite struct WorkerPoolTests {
    @Test(arguments: [1, 2, 3, 7])
    func `each task is done once, by a worker of the pool, whatever their numbers`(_ threads: Int) throws {
        let pool = try WorkerPool(threads: threads)
        #expect(pool.count == threads)
        let done = AlignedBuffer<Int>(count: 100)
        let busy = Atomic<UInt64>(0)
        for round in 1...300 {
            let tasks = round % 100
            pool.run(tasks: tasks) { task, worker in
                // A worker's number is nobody else's meanwhile: its memory is its own.
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

    @Test func `pools come and go`() throws {
        for threads in 1...40 {
            let pool = try WorkerPool(threads: 1 + threads % 4)
            let sum = Atomic<Int>(0)
            if threads % 3 > 0 { pool.run(tasks: 9) { task, _ in sum.add(task, ordering: .relaxed) } }
            #expect(sum.load(ordering: .relaxed) == (threads % 3 > 0 ? 36 : 0))
        }
    }

    @Test(arguments: [0, -1, 1025]) func `no thread at all and too many are refused`(_ threads: Int) {
        let failure = #expect(throws: Failure.self) { try WorkerPool(threads: threads) }
        #expect(failure?.kind == .usage && failure?.message.contains("\(threads)") == true)
    }

    @Test func `chunks cover all groups in their order and differ by one group at most`() {
        for groups in 0...50 {
            let chunks = Chunks(groups: groups)
            #expect(chunks.count <= Chunks.most && (chunks.count > 0) == (groups > 0))
            let ranges = (0..<chunks.count).map { chunks.groups(of: $0) }
            #expect(ranges.flatMap(Array.init) == Array(0..<groups))
            let counts = ranges.map(\.count)
            #expect(counts.allSatisfy { $0 > 0 } && (counts.max() ?? 0) - (counts.min() ?? 0) <= 1)
        }
    }
}
