import Glibc
import Support
import Synchronization
import TestSupport
import Testing

@Suite struct BackgroundJobTests {
    @Test func `jobs run one by one, each with its input, on a background thread`() throws {
        let inputs = Mutex<[Int]>([])
        let threads = Mutex<Set<UInt>>([])
        let job = try BackgroundJob<Int>(refusal: "no thread") { input in
            inputs.withLock { $0.append(input) }
            _ = threads.withLock { $0.insert(UInt(pthread_self())) }
        }
        for input in 0..<100 {
            #expect(!job.isPending)
            job.start(input)
            #expect(job.isPending)
            try job.wait()
        }
        #expect(inputs.withLock { $0 } == Array(0..<100))
        #expect(threads.withLock { $0.count == 1 && !$0.contains(UInt(pthread_self())) })
    }

    @Test func `waiting without a job returns at once`() throws {
        let job = try BackgroundJob<Void>(refusal: "no thread") {}
        try job.wait()
        job.start(())
        try job.wait()
        try job.wait()
    }

    @Test(.timeLimit(.minutes(1))) func `a failure is visible before the wait, thrown by it, and cleared after it`()
        throws
    {
        let job = try BackgroundJob<Bool>(refusal: "no thread") { fails in
            if fails { throw Failure(.data, "it failed") }
        }
        job.start(true)
        while !job.hasFailed { usleep(100) }
        #expect(throws: Failure(.data, "it failed")) { try job.wait() }
        #expect(!job.hasFailed && !job.isPending)
        job.start(false)
        try job.wait()
    }

    @Test(.timeLimit(.minutes(1))) func `deinit waits for the current job and ends the thread`() throws {
        let done = Count()
        for _ in 0..<50 {
            let job = try BackgroundJob<Void>(refusal: "no thread") {
                usleep(1000)
                done.value.add(1, ordering: .relaxed)
            }
            job.start(())
        }
        #expect(done.value.load(ordering: .relaxed) == 50)
    }

    @Test func `a thread that the system refuses is an error with the caller's words`() async throws {
        guard !isSanitized else { try Test.cancel("a sanitizer ends the process itself") }
        await #expect(processExitsWith: .success) {
            // Address space for a few more stacks at most.
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
            limit.rlim_cur = 1 << 20
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
            let failure = #expect(throws: Failure.self) {
                var jobs: [BackgroundJob<Void>] = []
                for _ in 0..<1000 { jobs.append(try BackgroundJob(refusal: "there is no loader") {}) }
            }
            #expect(failure?.kind == .unavailable && failure?.message.hasPrefix("there is no loader: ") == true)
        }
    }
}

private final class Count: Sendable {
    let value = Atomic(0)
}
