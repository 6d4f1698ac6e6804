import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// A run that is stopped or killed resumes as if nothing had happened.
@Suite struct StopAndResumeTests {
    let scratch = ScratchFolder()

    /// 16 steps per epoch, so that a stop is nearly always within one.
    static let options =
        smallNetwork + [
            "--limit-train", "256", "--limit-test", "32", "--batch-size", "16", "--epochs", "4", "--augment",
            "crop,flip,jitter,cutout",
            "--dropout", "0.1", "--learning-rate", "0.02", "--ema", "0.95", "--tta", "flip", "--norm-momentum", "0.2",
        ]

    /// Starts a run on two ranks, sends signals in its second epoch or later, and waits for its end.
    private func stop(_ options: [String], out path: String, signal: (RunningProgram) -> Void) throws -> ProgramResult {
        try withMPIJob(ranks: 2, program: "densenet", arguments: ["train", "--out", path] + options) { job in
            try job.wait(for: "an epoch's end") { job.output.contains("epoch 001") }
            signal(job)
            return try job.wait(timeout: 20)
        }
    }

    @Test func `a run stopped by a signal says how to resume, and resuming gives exactly the same result`() throws {
        let whole = try train(Self.options, out: scratch("whole"), ranks: 2)
        let signals: [(String, otherRanks: Int?, (RunningProgram, String) -> Void)] = [
            (
                "SIGTERM to all ranks", 1,
                { for rank in processes(naming: $1, program: "densenet") { kill(rank, SIGTERM) } }
            ),
            ("SIGINT to one rank", 3, { kill(processes(naming: $1, program: "densenet").max()!, SIGINT) }),
            // mpirun forwards this one to all ranks and does not end them.
            ("SIGUSR1 to mpirun", nil, { job, _ in kill(job.process, SIGUSR1) }),
        ]
        for (name, otherRanks, send) in signals {
            let path = scratch(name)
            let stopped = try stop(Self.options, out: path) { send($0, path) }
            #expect(stopped.status == 75, "\(name): \(stopped.output)\(stopped.errors)")
            let lines = stopped.errors.lines.filter { $0.hasPrefix("densenet: ") }
            #expect(
                lines.count == 1 && lines[0].hasSuffix("resume with: train --resume \(path)"),
                "\(name): \(stopped.errors)")
            #expect(
                !FileManager.default.fileExists(atPath: path + "/weights.safetensors"),
                "\(name): it was not stopped in time")

            if let ranks = otherRanks {
                let copy = scratch(name + ", other ranks")
                try FileManager.default.copyItem(atPath: path, toPath: copy)
                #expect(try resume(copy, ranks: ranks).lossDifference(to: whole) <= 1e-4, "\(name)")
            }
            let resumed = try resume(path, ranks: 2)
            #expect(resumed.weights == whole.weights, "\(name)")
            #expect(resumed.averages == whole.averages && whole.averages != nil, "\(name)")
            #expect(resumed.results == whole.results, "\(name)")
            try expectWholeEvents(of: resumed, stepsPerEpoch: 16, name)
        }
    }

    @Test func `a run in bfloat16 resumes in bfloat16`() throws {
        let options = Self.options + ["--precision", "bf16"]
        let whole = try train(options, out: scratch("whole"), ranks: 2)
        let path = scratch("stopped")
        let stopped = try stop(options, out: path) { kill($0.process, SIGUSR1) }
        #expect(stopped.status == 75, "\(stopped.output)\(stopped.errors)")
        let resumed = try resume(path, ranks: 2)
        #expect(resumed.weights == whole.weights)
        #expect(resumed.results == whole.results)
        let exact = try train(Self.options, out: scratch("float32"), ranks: 2)
        #expect(exact.weights != whole.weights && exact.lossDifference(to: whole) < 0.2)
        let refused = try densenet(["train", "--precision", "f16"])
        #expect(
            refused.status == 64 && refused.errors.lines.count == 1 && refused.errors.contains("bf16"),
            "\(refused.errors)")
    }

    @Test func `a run that is stopped in its last step is evaluated when resumed`() throws {
        // A step long enough to be hit: ranks handle signals before they say where the run folder is.
        let options =
            smallNetwork + [
                "--limit-train", "1500", "--limit-test", "32", "--batch-size", "1024", "--epochs", "2", "--steps", "1",
            ]
        let whole = try train(options, out: scratch("whole"), ranks: 2)
        let path = scratch("stopped")
        let stopped = try withMPIJob(ranks: 2, program: "densenet", arguments: ["train", "--out", path] + options) {
            job in
            try job.wait(for: "the first step") { job.output.contains("run folder: ") }
            for rank in processes(naming: path, program: "densenet") { kill(rank, SIGTERM) }
            return try job.wait(timeout: 20)
        }
        #expect(stopped.status == 75, "\(stopped.output)\(stopped.errors)")
        #expect(try readMetrics(path).isEmpty)
        let resumed = try resume(path, ranks: 2)
        #expect(resumed.results == whole.results && resumed.results.count == 1)
        #expect(resumed.weights == whole.weights)
    }

    @Test func `a finished run can be resumed and does not change`() throws {
        let whole = try train(smallRun + ["--epochs", "3", "--steps", "5"], out: scratch("run"))
        let again = try resume(whole.path)
        #expect(
            again.weights == whole.weights && again.results == whole.results && again.epochs.map(\.epoch) == [1, 2])
    }

    @Test func `a damaged newest checkpoint costs an epoch, a warning, and nothing else`() throws {
        let whole = try train(smallRun + ["--epochs", "3"], out: scratch("run"), ranks: 2)
        let name = "run/checkpoints/checkpoint-00003-00000012.safetensors"
        var bytes = try scratch.read(name)
        bytes[bytes.count - 5] ^= 1
        _ = try scratch.write(bytes, to: name)
        let job = try densenet(["train", "--resume", whole.path], ranks: 2)
        #expect(job.status == 0)
        #expect(job.errors.lines.count == 1 && job.errors.hasPrefix("densenet: "), "\(job.errors)")
        #expect(job.errors.contains(scratch(name)))
        #expect(job.output.lines.contains("resuming at epoch 3, step 1"), "\(job.output)")
        let again = try FinishedRun(path: whole.path)
        #expect(again.weights == whole.weights && again.results == whole.results)
        try expectWholeEvents(of: again, stepsPerEpoch: 4)
    }
}
