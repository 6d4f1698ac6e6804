import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

/// Ranks that die or hang: the job ends, names them, and can be resumed.
@Suite struct RankFailureTests {
    let scratch = ScratchFolder()
    private static let timeout = 3.0
    private static let options =
        smallNetwork + [
            "--limit-train", "256", "--limit-test", "32", "--batch-size", "16", "--learning-rate", "0.02",
            "--collective-timeout", "3",
        ]
    private static let endless = options + ["--epochs", "100000"]

    /// The process of a running rank, from its heartbeat in the run folder.
    private func process(ofRank rank: Int, _ path: String) throws -> pid_t {
        let record = try Data(contentsOf: URL(filePath: path + "/ranks/rank-\(rank)"))
        return try #require(pid_t(String(decoding: record.prefix { $0 != UInt8(ascii: " ") }, as: UTF8.self)))
    }

    /// Lets a job train for an epoch or more, does something to it, waits for its end and checks that nothing is left
    /// running.
    ///
    /// - Returns: how it ended, its lines of errors, and the seconds from `action` to its end.
    private func end(
        _ job: RunningProgram, _ path: String, after event: String = "epoch 002", action: () throws -> Void
    ) throws
        -> (status: Int32, lines: [Substring], seconds: Double)
    {
        try job.wait(for: event) { job.output.contains(event) }
        usleep(500_000)  // Heartbeats are written four times per second.
        try action()
        let began = monotonicSeconds()
        let result = try job.wait(timeout: 30)
        let seconds = monotonicSeconds() - began
        #expect(processes(naming: path, program: "densenet") == [], "left running after \(seconds) s")
        return (result.status, result.errors.lines.filter { $0.hasPrefix("densenet: ") }, seconds)
    }

    @Test(arguments: [1, 0]) func `a suspended rank is named soon after the timeout, and the job ends`(rank: Int)
        throws
    {
        let path = scratch("run")
        try withMPIJob(ranks: 3, program: "densenet", arguments: ["train", "--out", path] + Self.endless, killDelay: 1)
        { job in
            let end = try end(job, path) { kill(try process(ofRank: rank, path), SIGSTOP) }
            #expect(end.status == 69)
            #expect(end.lines.count == 1, "\(end.lines)")
            let line = end.lines.first ?? ""
            let start = #/^densenet: rank \d on \S+ has waited 3 s at step \d+ \(.+\); arrived: /#
            #expect(line.firstMatch(of: start) != nil, "\(line)")
            #expect(
                line.contains("; missing: rank \(rank) on ")
                    && line.contains("(its process is stopped, last seen at step "))
            #expect(line.contains("; resume with: train --resume \(path), "), "\(line)")
            #expect(end.seconds >= Self.timeout - 0.5 && end.seconds < Self.timeout + 10)
            print("rank \(rank) stopped: the job ended after \(end.seconds) s: \(line)")
        }
    }

    @Test(arguments: [1, 0]) func `a killed rank is named, and the others end`(rank: Int) throws {
        let path = scratch("run")
        try withMPIJob(ranks: 3, program: "densenet", arguments: ["train", "--out", path] + Self.endless, killDelay: 1)
        { job in
            let end = try end(job, path) { kill(try process(ofRank: rank, path), SIGKILL) }
            #expect(end.status == 128 + SIGKILL)
            #expect(end.lines.count == 1, "\(end.lines)")
            let line = end.lines.first ?? ""
            #expect(
                line.hasPrefix("densenet: rank \(rank) on ") && line.contains(" died, last seen at step "), "\(line)")
            #expect(line.hasSuffix("; resume with: train --resume \(path)"), "\(line)")
            #expect(end.seconds < 30)
            print("rank \(rank) killed: the job ended after \(end.seconds) s: \(line)")
        }
    }

    @Test func `the ranks of a killed mpirun end too`() throws {
        let path = scratch("run")
        try withMPIJob(ranks: 3, program: "densenet", arguments: ["train", "--out", path] + Self.endless) { job in
            try job.wait(for: "training") { job.output.contains("epoch 002") }
            kill(job.process, SIGKILL)
            let began = monotonicSeconds()
            while !processes(naming: path, program: "densenet").isEmpty, monotonicSeconds() < began + 30 {
                usleep(10_000)
            }
            #expect(monotonicSeconds() < began + 30)
            print("mpirun killed: the ranks ended after \(monotonicSeconds() - began) s")
            killAll(naming: path)
        }
    }

    @Test func `a job that is suspended for longer than the timeout continues normally`() throws {
        let options = Self.options + ["--epochs", "30"]
        let whole = try train(options, out: scratch("whole"), ranks: 3)
        let path = scratch("suspended")
        try withMPIJob(ranks: 3, program: "densenet", arguments: ["train", "--out", path] + options) { job in
            try job.wait(for: "training") { job.output.contains("epoch 002") }
            let ranks = processes(naming: path, program: "densenet")
            #expect(ranks.count == 3)
            for rank in ranks { kill(rank, SIGSTOP) }
            usleep(UInt32((Self.timeout + 2.5) * 1e6))
            for rank in ranks { kill(rank, SIGCONT) }
            let result = try job.wait(timeout: 30)
            #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
        }
        let run = try FinishedRun(path: path)
        #expect(run.weights == whole.weights && run.results == whole.results)
        #expect(!FileManager.default.fileExists(atPath: path + "/ranks"), "a good end leaves no records")
    }

    // MARK: - launch.sh

    @Test func `launch.sh restarts after ranks have died or hung, and the result is that of an undisturbed run`() throws
    {
        let options = Self.options + ["--epochs", "30"]
        let whole = try train(options, out: scratch("whole"), ranks: 3)
        let path = scratch("restarted")
        let arguments = ["-n", "3", "--max-restarts", "3", "train", "--out", path] + options
        try withLaunchedJob(arguments) { job in
            for (event, rank, signal) in [
                ("epoch 005", 1, SIGKILL), ("epoch 010", 0, SIGKILL), ("epoch 015", 2, SIGSTOP),
            ] {
                try job.wait(for: event) { job.output.contains(event) }
                kill(try process(ofRank: rank, path), signal)
            }
            let result = try job.wait(timeout: 60)
            #expect(result.status == 0, "\(result.errors)")
            for count in 1...3 {
                let line = "launch.sh: restart \(count) of 3, in \(path)"
                #expect(result.errors.lines.count { $0 == line } == 1, "\(result.errors)")
            }
            #expect(result.errors.lines.count { $0.contains(" died, last seen at ") } == 2, "\(result.errors)")
            #expect(result.errors.lines.count { $0.contains("; missing: rank 2 on ") } == 1, "\(result.errors)")
        }
        let run = try FinishedRun(path: path)
        #expect(run.weights == whole.weights && run.results == whole.results)
    }

    @Test func `launch.sh ends with 69 if a rank has died and no restart is left`() throws {
        let path = scratch("run")
        try withLaunchedJob(["-n", "3", "train", "--out", path] + Self.endless) { job in
            let end = try end(job, path) { kill(try process(ofRank: 1, path), SIGKILL) }
            #expect(end.status == 69)
            #expect(end.lines.count == 1 && end.lines[0].contains("rank 1 on "), "\(end.lines)")
            #expect(job.errors.lines.last == "launch.sh: a rank was killed by signal 9 (KILL)")
        }
    }

    @Test func `launch.sh continues without a lost host, if the user allows fewer ranks`() throws {
        let hosts = try scratch.write(
            Array("localhost slots=2\ngone.invalid slots=1 # no such host\n".utf8), to: "hosts")
        let options = Self.options + ["--epochs", "2"]
        for (minimum, status) in [(["--min-ranks", "2"], Int32(0)), ([], 69)] {
            let path = scratch("run\(status)")
            let launch = ["--hostfile", hosts, "--max-restarts", "1"] + minimum
            try withLaunchedJob(launch + ["train", "--out", path] + options) { job in
                let result = try job.wait(timeout: 60)
                #expect(result.status == status, "\(result.output)\(result.errors)")
                #expect(result.errors.contains("launch.sh: no answer from gone.invalid; "), "\(result.errors)")
            }
            if status == 0 {
                let whole = try train(options, out: scratch("whole"), ranks: 2)
                #expect(try FinishedRun(path: path).weights == whole.weights)
            }
        }
    }

    // MARK: - The user's impatience

    @Test func `a second SIGINT ends a rank at once, and with it the job`() throws {
        let path = scratch("run")
        let slow =
            smallNetwork + ["--limit-train", "1536", "--limit-test", "32", "--batch-size", "1536", "--epochs", "1000"]
        try withMPIJob(ranks: 2, program: "densenet", arguments: ["train", "--out", path] + slow) { job in
            let end = try end(job, path, after: "run folder: ") {
                // The step cannot end before the second signal arrives.
                kill(try process(ofRank: 1, path), SIGSTOP)
                for _ in 0..<2 {
                    kill(try process(ofRank: 0, path), SIGINT)
                    usleep(100_000)
                }
            }
            #expect(end.status == 130)
            print("SIGINT twice: mpirun ended after \(end.seconds) s")
        }
        try withLaunchedJob(["-n", "3", "train", "--out", scratch("launched")] + slow) { job in
            let end = try end(job, scratch("launched"), after: "run folder: ") {
                kill(try process(ofRank: 1, scratch("launched")), SIGSTOP)
                kill(job.process, SIGINT)
                // Bash merges signals of one kind that arrive together.
                usleep(100_000)
                kill(job.process, SIGINT)
            }
            #expect(end.status == 130)
            print("SIGINT twice: launch.sh ended after \(end.seconds) s")
        }
    }
}
