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
            "--augment", "crop,flip,jitter,cutout", "--ema", "0.99",
        ]

    /// Killed jobs leave shared memory and session folders behind; here they are removed with the test.
    private var environment: [String: String?] {
        ["TMPDIR": scratch.path, "OMPI_MCA_btl_vader_backing_directory": scratch.path]
    }

    /// Every third kill falls into a job's start, the others into one of its first three epochs: during a step, an
    /// evaluation, or the writing of the log or a checkpoint.
    @Test func `a run killed at random moments and resumed each time ends like an undisturbed one`() throws {
        let (whole, startSeconds, epochSeconds) = try wholeRun()
        let path = scratch("killed")
        var random = CounterRandom(.synthetic, 20)
        var kills = 0
        var positions: Set<Int> = []
        while kills < Self.kills {
            let isInStart = kills % 3 == 0
            let epochs = isInStart ? nil : Int(random.unit() * 3)
            let delay = Double(random.unit()) * (isInStart ? startSeconds : epochSeconds)
            guard try kill(path, afterEpochs: epochs, andSeconds: delay) else { break }
            kills += 1
            positions.insert(finishedEpochs(path))
        }
        #expect(kills == Self.kills, "the run ended after \(kills) kills; give it more epochs")
        #expect(positions.count > 5, "the kills let the run get no further than \(positions)")
        let end = try resume(path, ranks: 2)
        #expect(end.weights == whole.weights)
        #expect(end.averages == whole.averages && whole.averages != nil)
        #expect(end.results == whole.results)
        // The last start asked for no lines of steps; before it none is missing, and none is there twice.
        let steps = try readStepRecords(path).map(\.step)
        #expect(steps.count > 5 && steps == Array(stride(from: 5, through: steps.count * 5, by: 5)), "\(steps)")
        try expectWholeEvents(of: end, stepsPerEpoch: 8)
    }

    /// The undisturbed run, with the seconds from its start to its first step and the seconds per epoch.
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

    /// Starts or resumes the run and kills mpirun and all ranks, some seconds after the start or after some epochs of
    /// it.
    ///
    /// - Parameter epochs: nil for a kill in the start.
    /// - Returns: false if it has ended by itself, which must be a success.
    private func kill(_ path: String, afterEpochs epochs: Int?, andSeconds delay: Double) throws -> Bool {
        let hasBegun = FileManager.default.fileExists(atPath: path + "/config.json")
        let arguments =
            ["train", "--step-metrics", "5"] + (hasBegun ? ["--resume", path] : ["--out", path] + Self.options)
        return try withMPIJob(ranks: 2, program: "densenet", arguments: arguments, environment: environment) { job in
            if let epochs {
                try job.wait(for: "the first step") { job.output.contains("run folder: ") }
                let target = finishedEpochs(path) + epochs
                try job.wait(for: "epoch \(target)") { finishedEpochs(path) >= target || !job.isRunning }
            }
            let moment = monotonicSeconds() + delay
            while job.isRunning, monotonicSeconds() < moment { usleep(500) }
            let isKilled = job.isRunning
            killAll(naming: path)
            let result = try job.wait(timeout: 5)
            if !isKilled { #expect(result.status == 0, "\(result.output)\(result.errors)") }
            return isKilled
        }
    }

    /// Epochs in the log, whose last line may be truncated.
    private func finishedEpochs(_ path: String) -> Int {
        let log = (try? String(contentsOf: URL(filePath: path + "/metrics.jsonl"), encoding: .utf8)) ?? ""
        return log.split(separator: "\n").count { $0.contains("\"train_loss\":") && $0.hasSuffix("}") }
    }
}
