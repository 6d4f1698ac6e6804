import FoundationEssentials
import Glibc
import TestSupport
import Testing

/// Signals that ask a run to stop, and what happens if it cannot respond.
@Suite struct StopSignalTests {
    let scratch = ScratchFolder()

    @Test(arguments: [1, 2]) func `a request to stop during a step that does not end ends the job with one line`(
        ranks: Int
    ) throws {
        // A step that takes much longer than the timeout.
        let options = [
            "--model", "densenet-bc-40-12", "--limit-train", "512", "--limit-test", "8", "--batch-size", "512",
            "--collective-timeout", "2", "--out", scratch("run"),
        ]
        func check(_ job: RunningProgram) throws {
            try job.wait(for: "training") { job.output.contains("run folder: ") }
            for rank in processes(naming: scratch("run"), program: "densenet") {
                for _ in 0..<2 { kill(rank, SIGTERM) }
            }
            let began = time(nil)
            let result = try job.wait(timeout: 30)
            #expect(result.status == 69 && time(nil) - began < 8, "\(result.errors)")
            let lines = result.errors.lines.filter { $0.hasPrefix("densenet: ") }
            #expect(
                lines.count == 1 && lines[0].hasPrefix("densenet: asked to stop, but no step has ended within "),
                "\(result.errors)")
        }
        guard ranks > 1 else {
            return try withJobSlot {
                try check(RunningProgram(builtExecutable(named: "densenet"), ["train"] + options))
            }
        }
        try withMPIJob(
            ranks: ranks, program: "densenet", arguments: ["train"] + options, quiet: true, killDelay: 1, check)
    }

    @Test(arguments: [SIGUSR2, SIGALRM]) func `signals that would kill ask to stop like the others`(
        signal: Int32
    ) throws {
        let options = smallRun + ["--epochs", "100000", "--collective-timeout", "1", "--out", scratch("run")]
        let job = try RunningProgram(builtExecutable(named: "densenet"), ["train"] + options)
        try job.wait(for: "an epoch's end") { job.output.contains("epoch 001") }
        kill(job.process, signal)
        let result = try job.wait(timeout: 30)
        #expect(result.status == 75 && result.errors.lines.count == 1, "\(result.errors)")
        #expect(result.errors.contains("resume with: train --resume"))
    }
}
