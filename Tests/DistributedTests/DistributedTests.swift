import Glibc
import Support
import TestSupport
import Testing

@testable import DataParallel

private let program = "DistributedTestProgram"

/// Each test starts real jobs of `DistributedTestProgram`, whose scenarios state what must hold on every rank.
@Suite(.serialized) struct DistributedTests {
    static let scenarios = [
        "place", "sum", "broadcast", "gather", "throw-on-all-ranks", "funnel", "buckets", "random-gradients",
        "abandoned-gradients",
        "statistics", "host-buffers", "shared-gradients",
    ]

    @Test(arguments: 1...4)
    func `collective calls do what they say on any number of ranks`(ranks: Int) throws {
        let job = try mpirun(ranks: ranks, program: program, arguments: Self.scenarios)
        #expect(job.status == 0, "\(job.output)\(job.errors)")
    }

    @Test(arguments: [5, 8])
    func `sums in shared memory have the bits of sums by messages on more ranks`(ranks: Int) throws {
        let job = try mpirun(ranks: ranks, program: program, arguments: ["shared-gradients"])
        #expect(job.status == 0, "\(job.output)\(job.errors)")
    }

    @Test func `ranks share memory where the order of sums over hosts is that over ranks`() {
        func isShared(_ hosts: [Int], inBlocks: Bool = true) -> Bool {
            HostBuffers.Refusal.reason(
                worldSize: hosts.reduce(0, +), mostOnHost: hosts.max()!, fewestOnHost: hosts.min()!,
                areInBlocks: inBlocks) == nil
        }
        #expect([[2], [3], [8], [2, 2], [2, 2, 2], [4, 4]].allSatisfy { isShared($0) })
        #expect([[1], [1, 1], [3, 3], [2, 1], [4, 2], [6, 6]].allSatisfy { !isShared($0) })
        #expect(!isShared([2, 2], inBlocks: false))
    }

    @Test func `a program started without mpirun is a world of one rank`() throws {
        let job = try run(builtExecutable(named: program), ["world-of-one"] + Self.scenarios, timeout: 10)
        #expect(job.status == 0, "\(job.output)\(job.errors)")
    }

    @Test func `two identical runs sum to the same bits`() throws {
        let runs = try (0..<2).map { _ in try mpirun(ranks: 3, program: program, arguments: ["random-gradients"]) }
        #expect(runs[0].output.hasPrefix("gradients "))
        #expect(runs[0].output == runs[1].output)
    }

    @Test func `an error that all ranks throw ends them cleanly, with its exit code`() throws {
        let job = try mpirun(ranks: 3, program: program, arguments: ["agreed-end"], timeout: 5)
        #expect(job.status == Failure.Kind.data.rawValue)
        let lines = job.errors.split(separator: "\n")
        #expect(
            lines.filter { $0.contains("data_batch_1.bin") } == ["rank 2: data_batch_1.bin is short"], "\(job.errors)")
        #expect(!job.errors.contains("MPI_ABORT"), "\(job.errors)")
    }

    @Test(arguments: ["lonely-end", "crossed-end"])
    func `an error that only one rank knows of ends the waiting ranks too, with its exit code`(scenario: String) throws
    {
        let job = try mpirun(ranks: 3, program: program, arguments: [scenario], timeout: 5)
        #expect(job.status == Failure.Kind.noInput.rawValue)
        #expect(job.errors.contains("rank 2: the disk has gone\n"), "\(job.errors)")
    }

    @Test func `a launcher unknown to MPI is refused`() throws {
        let job = try run(builtExecutable(named: program), ["place"], environment: ["PMI_RANK": "3"], timeout: 10)
        #expect(job.status == Failure.Kind.unavailable.rawValue)
        #expect(
            job.errors.contains("rank 3: the launcher started this process as rank 3, but MPI sees rank 0"),
            "\(job.errors)")
    }

    @Test func `a decreasing gradient offset traps`() throws {
        let job = try run(builtExecutable(named: program), ["backwards"], timeout: 20)
        #expect(job.status > 128, "status \(job.status)")
    }

    @Test func `dropping requests in flight traps, unless they are abandoned`() async throws {
        await #expect(processExitsWith: .failure) {
            var requests = RequestTable(capacity: 2)
            try requests.start("no call") { _ in 0 }
        }
        var requests = RequestTable(capacity: 2)
        try requests.start("no call") { _ in 0 }
        requests.abandon(keeping: AlignedBuffer<Float>(count: 1))
    }

    @Test func `a buffer beyond 32-bit counts is divided into ranges that cover it once`() {
        #expect(Array(chunks(of: 10, limit: 4)) == [0..<4, 4..<8, 8..<10])
        #expect(Array(chunks(of: 8, limit: 4)) == [0..<4, 4..<8])
        #expect(Array(chunks(of: 0)).isEmpty)
        let large = Array(chunks(of: 5_000_000_000))
        #expect(large.allSatisfy { $0.count <= Int(Int32.max) } && large.map(\.count).reduce(0, +) == 5_000_000_000)
    }
}

@Suite(.serialized) struct TestSupportTests {
    @Test func `a job that hangs is ended at its deadline, with all its ranks`() throws {
        let mark = "hang-\(getpid())"
        #expect(throws: ProgramError.self) {
            try mpirun(ranks: 2, program: program, arguments: ["hang", mark], timeout: 1)
        }
        let left = try run("pgrep", ["-f", mark])
        #expect(left.output.isEmpty, "still there: \(left.output)")
    }

    @Test func `output larger than a pipe and a surviving grandchild do not block a run`() throws {
        let result = try run(
            "sh", ["-c", "sleep 20 & head -c 300000 /dev/zero | tr '\\0' x; echo $WORD >&2; exit 7"],
            environment: ["WORD": "said"], timeout: 5)
        #expect(result.status == 7)
        #expect(result.output.utf8.count == 300_000)
        #expect(result.errors == "said\n")
    }
}
