import Glibc
import Support
import TestSupport
import Testing

@testable import DataParallel

private let program = "DistributedTestProgram"

/// What the watchdog does when ranks wait for each other, on real ranks; the timeout is a second.
@Suite(.serialized) struct WatchdogTests {
    let scratch = ScratchFolder()

    private func job(_ scenario: String, heartbeats: Bool = true) throws -> (result: ProgramResult, lines: [Substring])
    {
        let result = try mpirun(
            ranks: 3, program: program, arguments: [scenario],
            environment: ["FOLDER": heartbeats ? scratch("ranks") : nil]
        )
        return (result, result.errors.split(separator: "\n").filter { $0.hasPrefix("rank ") })
    }

    @Test func `writing a large file for longer than the timeout raises no alarm`() throws {
        let job = try job("slow-writing")
        #expect(job.result.status == 0 && job.result.errors.isEmpty, "\(job.result.errors)")
        #expect(!scratch.names.contains("ranks"), "the last rank that leaves takes the folder with it")
    }

    @Test func `a rank that is late for another reason is named with its activity, once`() throws {
        let job = try job("slow")
        #expect(job.result.status == 69 && job.lines.count == 1, "\(job.result.errors)")
        let line = job.lines.first ?? ""
        #expect(
            line.contains(" has waited 1 s at step 7 (thinking 2 of 3); arrived: 1-2; missing: rank 0 on "), "\(line)")
        #expect(line.contains(" (last seen at step 7 (thinking 2 of 3)); do something, "), "\(line)")
        #expect(
            !job.result.errors.contains("MPI_ABORT"), "no thread but the main one may call MPI: \(job.result.errors)")
    }

    @Test func `a rank that hangs in backward is named, with the bucket that lacks it`() throws {
        let job = try job("late-bucket")
        #expect(job.result.status == 69 && job.lines.count == 1, "\(job.result.errors)")
        let line = job.lines.first ?? ""
        #expect(line.contains(" at step 7 (gradient bucket 3 of 4); arrived: 1-2; missing: rank 0 on "), "\(line)")
        #expect(line.contains(" (last seen at step 7 (backward)); "), "\(line)")
    }

    @Test func `without a launcher that ends them, ranks end themselves once one has reported why`() throws {
        let folder = scratch("ranks")
        try withMPIJob(ranks: 3, program: program, arguments: ["slow"], environment: ["FOLDER": folder], quiet: true) {
            job in
            try job.wait(for: "heartbeats") { (0..<3).allSatisfy { access("\(folder)/rank-\($0)", F_OK) == 0 } }
            kill(job.process, SIGSTOP)
            let began = monotonicSeconds()
            while !processes(naming: "slow", program: program).isEmpty, monotonicSeconds() < began + 15 {
                usleep(20_000)
            }
            let seconds = monotonicSeconds() - began
            kill(job.process, SIGCONT)
            let result = try job.wait(timeout: 30)
            #expect(seconds < 15 && result.status == 69, "ended after \(seconds) s with \(result.status)")
            #expect(
                result.errors.split(separator: "\n").count { $0.contains("; missing: rank 0 on ") } == 1,
                "\(result.errors)")
            print("mpirun stopped: the ranks ended after \(seconds) s")
        }
    }

    @Test func `without heartbeats a rank says what it knows and the job ends`() throws {
        let job = try job("missing", heartbeats: false)
        #expect(job.result.status == 69 && job.lines.count == 1, "\(job.result.errors)")
        // Rank 1 has the first turn, which a busy machine may make it miss.
        let known = ["; arrived: 1; unknown: 0, 2; ", "; arrived: 2; unknown: 0-1; "]
        #expect(known.contains { job.lines.first?.contains($0) == true }, "\(job.lines)")
    }

    @Test func `a hanging file system blocks no rank forever`() throws {
        let job = try job("stuck-folder")
        #expect(job.result.status == 69 && job.lines.count == 1, "\(job.result.errors)")
        #expect(job.lines.first?.hasSuffix("; the file system does not respond either") == true, "\(job.lines)")
    }
}

@Suite struct HeartbeatTests {
    let scratch = ScratchFolder()
    private let progress = RankProgress(
        startedCalls: 40, finishedCalls: 39, step: 12, activity: "gradient bucket", index: 2, count: 3,
        mayTakeLong: true)

    @Test func `a heartbeat is parsed from its own line and from nothing else`() {
        let heartbeat = Heartbeat(host: "node7", process: 4711, beat: 9, stopSignals: 1, progress: progress)
        #expect(Heartbeat(line: heartbeat.line) == heartbeat)
        #expect(heartbeat.progress.description == "step 12 (gradient bucket 2 of 3)")
        for line in [
            "", "\n", "1 2 3\n", String(heartbeat.line.dropLast(350)), "x" + heartbeat.line,
            "99999999999" + heartbeat.line,
        ] {
            #expect(Heartbeat(line: line) == nil, "\(line)")
        }
    }

    @Test func `the rank that mpirun did not ask to stop is the one that died`() throws {
        let folder = scratch("ranks")
        mkdir(folder, 0o777)
        let heartbeats = HeartbeatFolder(path: folder)
        for rank in 0..<3 {
            let heartbeat = Heartbeat(
                host: "node\(rank)", process: 1, beat: 1, stopSignals: rank == 1 ? 0 : 1, progress: progress)
            heartbeats.write(heartbeat, ofRank: rank)
        }
        let death = "rank 1 on node1 died, last seen at step 12 (gradient bucket 2 of 3); do something"
        #expect(postMortem(false) == [], "no rank was ended by a signal")
        #expect(postMortem() == [death] && postMortem() == [], "it is told once")
        PostMortem.clear(folder)
        #expect(scratch.names.isEmpty && postMortem() == [])
    }

    @Test func `a report is complete from the moment it is claimed until it is shown`() throws {
        let folder = scratch("ranks")
        let heartbeats = HeartbeatFolder(path: folder)
        #expect(heartbeats.claimReport("rank 1 died", by: 0) == nil, "there is no folder")
        mkdir(folder, 0o777)
        #expect(heartbeats.report == nil)
        #expect(
            heartbeats.claimReport("rank 1 died", by: 0) == true
                && heartbeats.claimReport("rank 0 died", by: 2) == false)
        #expect(heartbeats.report == "rank 1 died" && access(folder + "/report-0", F_OK) != 0)
        #expect(postMortem() == ["rank 1 died"] && postMortem() == [], "it is told once")
        PostMortem.clear(folder)
        #expect(scratch.names.isEmpty)
    }

    private func postMortem(_ isKilled: Bool = true) -> [String] {
        PostMortem.take(from: scratch("ranks"), isKilled: isKilled, advice: "do something")
    }

    @Test func `each rank watches the next one on its host`() {
        let peers = ["a", "a", "b", "a", "c", "b"].map { Peer(host: $0, process: 1) }
        #expect(peers.indices.map { Peer.neighbour(of: $0, among: peers) } == [1, 3, 5, 0, nil, 2])
        #expect(ranges([0, 1, 2, 3, 7, 9, 10]) == "0-3, 7, 9-10")
    }
}
