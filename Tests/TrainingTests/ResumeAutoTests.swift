import TestSupport
import Testing

/// `--resume auto`: the same command line begins a run, resumes it, and finds it finished.
@Suite struct ResumeAutoTests {
    let scratch = ScratchFolder()

    private func automatic(_ options: [String], ranks: Int = 1) throws -> ProgramResult {
        try densenet(["train", "--out", scratch("run"), "--resume", "auto"] + options, ranks: ranks)
    }

    @Test(arguments: [1, 2])
    func `a run is begun, resumed and found finished by the same words`(ranks: Int) throws {
        let options = smallRun + ["--epochs", "2"]
        let first = try automatic(options, ranks: ranks)
        #expect(first.status == 0 && first.output.hasPrefix("beginning a new run in \(scratch("run"))\n"), "\(first)")
        let whole = try FinishedRun(path: scratch("run"))
        let again = try automatic(options, ranks: ranks)
        #expect(again.status == 0 && again.output.hasPrefix("resuming the run in \(scratch("run"))\n"), "\(again)")
        #expect(again.output.contains("the run in \(scratch("run")) is finished\n"), "\(again)")
        #expect(try FinishedRun(path: scratch("run")).weights == whole.weights)
        let longer = try automatic(smallRun + ["--epochs", "3", "--keep", "2"], ranks: ranks)
        #expect(longer.status == 0 && longer.output.contains("resuming at epoch 3, step 1"), "\(longer)")
        #expect(try readMetrics(scratch("run")).count == 3)
    }

    @Test func `options that differ are named with both values`() throws {
        _ = try automatic(smallRun + ["--steps", "1"])
        let job = try automatic(smallRun + ["--steps", "1", "--seed", "2", "--momentum", "0.5"])
        #expect(job.status == 64, "\(job)")
        #expect(
            job.errors.contains("--seed is 2, but the run in \(scratch("run")) has 1, which cannot change"), "\(job)")
        #expect(job.errors.contains("(also --momentum is 0.5, not 0.9); leave them out"), "\(job)")
        let homeless = try densenet(["train", "--resume", "auto"])
        #expect(homeless.status == 64 && homeless.errors.contains("--resume auto needs --out"), "\(homeless)")
    }

    @Test func `launch.sh begins and resumes a run by the same words`() throws {
        let words = ["-n", "2", "train", "--out", scratch("run"), "--resume", "auto", "--epochs", "1"] + smallRun
        for begin in ["beginning a new run", "resuming the run"] {
            let job = try withLaunchedJob(words) { try $0.wait(timeout: 60) }
            #expect(job.status == 0 && job.output.hasPrefix(begin), "\(job)")
        }
        #expect(scratch.names == ["run"])
    }
}
