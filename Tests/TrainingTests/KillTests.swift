import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

@Suite struct KillTests {
    let scratch = ScratchFolder()
    private static let kills = 24
    private static let options =
        smallNetwork + [
            "--limit-train", "128", "--limit-test", "32", "--batch-size", "16", "--epochs", "60", "--learning-rate",
            "0.02",
            "--augment", "crop,flip,jitter,cutout",
        ]

    /// Shared memory and session folders of killed jobs stay behind; here they go with the test.
    private var environment: [String: String?] {
        ["TMPDIR": scratch.path, "OMPI_MCA_btl_vader_backing_directory": scratch.path]
    }

    /// Every third kill comes somewhere in a job's start, the others somewhere in the two and a half epochs that
    /// follow: in a step, in an evaluation, while the log or a checkpoint is written.
    @Test func `a run killed at random moments and resumed each time ends as one that was left alone`() throws {
        let (whole, startSeconds, epochSeconds) = try wholeRun()
        let path = scratch("killed")
        var random = CounterRandom(.synthetic, 20)
        var kills = 0
        var positions: Set<Int> = []
        while kills < Self.kills {
            let isInStart = kills % 3 == 0
            let delay = Double(random.unit()) * (isInStart ? startSeconds : 2.5 * epochSeconds)
            guard try kill(path, after: delay, isInStart: isInStart) else { break }
            kills += 1
            positions.insert(finishedEpochs(path))
        }
        #expect(kills == Self.kills, "the run ended after \(kills) kills; give it more epochs")
        #expect(positions.count > 5, "the kills let the run get no further than \(positions)")
        let end = try resume(path, ranks: 2)
        #expect(end.weights == whole.weights)
        #expect(end.results == whole.results)
    }

    /// The run that is left alone, with the seconds from its start to its first step, and those of an epoch.
    private func wholeRun() throws -> (FinishedRun, startSeconds: Double, epochSeconds: Double) {
        let path = scratch("whole")
        return try withMPIJob(ranks: 2, program: "densenet", arguments: ["train", "--out", path] + Self.options) {
            job in
            let began = monotonicSeconds()
            try job.wait(for: "the first step") { job.output.contains("run folder: ") }
            let started = monotonicSeconds()
            let result = try job.wait(timeout: 60)
            try #require(result.status == 0, "\(result.output)\(result.errors)")
            let run = try FinishedRun(path: path)
            return (run, started - began, (monotonicSeconds() - started) / Double(run.epochs.count))
        }
    }

    /// Starts or resumes the run and kills mpirun and all ranks, some seconds after the start or after the first step
    /// begins.
    ///
    /// - Returns: false if it has ended by itself, which has to be a good end.
    private func kill(_ path: String, after delay: Double, isInStart: Bool) throws -> Bool {
        let hasBegun = FileManager.default.fileExists(atPath: path + "/config.json")
        let arguments = ["train"] + (hasBegun ? ["--resume", path] : ["--out", path] + Self.options)
        return try withMPIJob(ranks: 2, program: "densenet", arguments: arguments, environment: environment) { job in
            if !isInStart { try job.wait(for: "the first step") { job.output.contains("run folder: ") } }
            let moment = monotonicSeconds() + delay
            while job.isRunning, monotonicSeconds() < moment { usleep(500) }
            let isKilled = job.isRunning
            killAll(naming: path)
            let result = try job.wait(timeout: 5)
            if !isKilled { #expect(result.status == 0, "\(result.output)\(result.errors)") }
            return isKilled
        }
    }

    /// Whole lines in the log; the last may be cut.
    private func finishedEpochs(_ path: String) -> Int {
        (try? Data(contentsOf: URL(filePath: path + "/metrics.jsonl")))?.count { $0 == UInt8(ascii: "\n") } ?? 0
    }
}
