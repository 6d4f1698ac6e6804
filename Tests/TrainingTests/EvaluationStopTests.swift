import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

/// What happens to an epoch whose evaluation is interrupted.
@Suite struct EvaluationStopTests {
    let scratch = ScratchFolder()

    /// Two steps per epoch, and an evaluation of thousands of batches.
    private static let options =
        smallNetwork + [
            "--limit-train", "8", "--limit-test", "16000", "--batch-size", "4", "--epochs", "2", "--learning-rate",
            "0.02",
        ]

    /// Does something to a run on two ranks during the evaluation of its first epoch.
    private func disturb(_ path: String, _ action: (RunningProgram) -> Void) throws -> (
        result: ProgramResult, seconds: Double
    ) {
        try withMPIJob(ranks: 2, program: "densenet", arguments: ["train", "--out", path] + Self.options) { job in
            let checkpoint = path + "/checkpoints/checkpoint-00001-00000002.safetensors"
            try job.wait(for: "the checkpoint before the evaluation") { access(checkpoint, F_OK) == 0 }
            let began = monotonicSeconds()
            action(job)
            let result = try job.wait(timeout: 20)
            return (result, monotonicSeconds() - began)
        }
    }

    @Test func `a stop interrupts an evaluation, and the resumed run has exactly the same result`() throws {
        let whole = try train(Self.options, out: scratch("whole"), ranks: 2)
        let path = scratch("stopped")
        let (stopped, seconds) = try disturb(path) { kill($0.process, SIGUSR1) }
        #expect(stopped.status == 75, "\(stopped.output)\(stopped.errors)")
        #expect(stopped.errors.contains("stopped on request after step 2; resume with: train --resume \(path)"))
        #expect(try readMetrics(path).isEmpty, "the evaluation came to its end before the signal did")
        print("a stop within an evaluation took \(seconds) s")
        try expectSameEnd(path, whole)
    }

    @Test func `a kill during an evaluation costs no step`() throws {
        let whole = try train(Self.options, out: scratch("whole"), ranks: 2)
        let path = scratch("killed")
        _ = try disturb(path) { _ in killAll(naming: path) }
        #expect(try readMetrics(path).isEmpty, "the evaluation came to its end before the kill did")
        try expectSameEnd(path, whole)
    }

    private func expectSameEnd(_ path: String, _ whole: FinishedRun) throws {
        let job = try densenet(["train", "--resume", path], ranks: 2)
        #expect(
            job.status == 0 && job.output.lines.contains("resuming at the evaluation of epoch 1"),
            "\(job.output)\(job.errors)")
        let resumed = try FinishedRun(path: path)
        #expect(resumed.weights == whole.weights && resumed.results == whole.results)
        let best = [path, whole.path].map { try? Data(contentsOf: URL(filePath: $0 + "/best.safetensors")) }
        #expect(best[0] != nil && best[0] == best[1])
    }
}
