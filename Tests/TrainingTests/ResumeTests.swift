import FoundationEssentials
import Glibc
import ImageData
import Support
import TestSupport
import Testing

/// What `--resume` refuses to do silently, and what it may change.
@Suite struct ResumeTests {
    let scratch = ScratchFolder()
    private var run: String { scratch("run") }

    private func resume(_ options: String...) throws -> ProgramResult {
        try densenet(["train", "--resume", run] + options, ranks: 2)
    }

    // MARK: - Checkpoints that are gone

    @Test(arguments: [true, false])
    func `a run without checkpoints is not restarted over its results`(folderIsGone: Bool) throws {
        let whole = try train(smallRun + ["--epochs", "3"], out: run)
        let best = try scratch.read("run/best.safetensors")
        let checkpoints = run + "/checkpoints"
        try FileManager.default.removeItem(atPath: checkpoints)
        if !folderIsGone { mkdir(checkpoints, 0o777) }
        let job = try resume()
        #expect(job.status == Failure.Kind.noInput.rawValue, "\(job.output)\(job.errors)")
        let lines = job.errors.lines.filter { $0.hasPrefix("densenet: ") }
        #expect(
            lines.count == 1 && lines[0].contains("\(checkpoints): there is no checkpoint to resume from"),
            "\(job.errors)")
        #expect(lines.first?.contains("metrics.jsonl, best.safetensors, weights.safetensors") == true, "\(lines)")
        #expect(lines.first?.contains("begin another run with --init \(run)/weights.safetensors") == true, "\(lines)")
        #expect(try FinishedRun(path: run).weights == whole.weights && readMetrics(run).count == 3)
        #expect(try scratch.read("run/best.safetensors") == best)
    }

    @Test func `a run that has finished nothing yet starts over`() throws {
        let whole = try train(smallRun + ["--epochs", "1"], out: scratch("whole"), ranks: 2)
        try train(smallRun + ["--epochs", "1"], out: run)
        for name in ["checkpoints", "metrics.jsonl", "best.safetensors", "weights.safetensors"] {
            try FileManager.default.removeItem(atPath: "\(run)/\(name)")
        }
        #expect(try resume().status == 0)
        #expect(try FinishedRun(path: run).weights == whole.weights)
    }

    @Test func `checkpoints that disappear during a run are written again, with a warning`() throws {
        let options = smallRun + ["--epochs", "40"]
        let whole = try train(options, out: scratch("whole"), ranks: 2)
        try withMPIJob(ranks: 2, program: "densenet", arguments: ["train", "--out", run] + options) { job in
            try job.wait(for: "training") { job.output.contains("epoch 003") }
            // Renamed at once: a folder removed file by file may be written to meanwhile.
            rename(run + "/checkpoints", run + "/gone")
            let result = try job.wait(timeout: 30)
            #expect(result.status == 0, "\(result.errors)")
            let lines = result.errors.lines
            #expect(lines.count == 1 && lines[0].hasPrefix("densenet: \(run)/checkpoints was gone"), "\(result.errors)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: run + "/checkpoints").count >= 3)
        #expect(try FinishedRun(path: run).weights == whole.weights)
        #expect(try resume().status == 0)
    }

    // MARK: - Other data, other programs

    @Test func `different images at the same path are found and named`() throws {
        try SyntheticImages.write(to: scratch("images"), train: 20, test: 8, seed: 1)
        let options = smallNetwork.dropLast(2) + ["--batch-size", "8", "--epochs", "1", "--data", scratch("images")]
        try train(Array(options), out: run)
        let file = scratch("images/data_batch_2.bin")
        let bytes = try scratch.read("images/data_batch_2.bin")
        _ = try scratch.write(bytes.dropLast() + [bytes.last! ^ 1], to: "images/data_batch_2.bin")
        let job = try resume("--epochs", "2")
        #expect(job.status == Failure.Kind.data.rawValue, "\(job.output)\(job.errors)")
        #expect(job.errors.contains("densenet: \(file): holds other images ("), "\(job.errors)")
        #expect(job.errors.contains(" than when the run began ("), "\(job.errors)")
        _ = try scratch.write(bytes, to: "images/data_batch_2.bin")
        #expect(try resume("--epochs", "2").status == 0)
        #expect(try readMetrics(run).count == 2)
    }

    @Test func `files of a newer program are refused as such rather than skipped or misread`() throws {
        try train(smallRun + ["--epochs", "2"], out: run)
        let text = String(decoding: try scratch.read("run/config.json"), as: UTF8.self)
        #expect(text.contains("\"version\" : 1\n"), "\(text)")
        // A newer program's format may not be readable at all.
        let newer = text.replacing("\"version\" : 1", with: "\"version\" : 4").replacing(
            "\"batchSize\"", with: "\"globalBatch\"")
        _ = try scratch.write(Array(newer.utf8), to: "run/config.json")
        let job = try resume()
        #expect(job.status == Failure.Kind.data.rawValue, "\(job.errors)")
        #expect(
            job.errors.contains("\(run)/config.json: has format version 4, this program reads up to 3; "),
            "\(job.errors)")
    }

    // MARK: - More epochs

    @Test func `a finished run can be extended, and says how the learning rate continues`() throws {
        let options = smallRun + ["--learning-rate", "0.02", "--schedule", "cosine"]
        let short = try train(options + ["--epochs", "2"], out: run, ranks: 2)
        let job = try resume("--epochs", "4")
        #expect(job.status == 0, "\(job.errors)")
        #expect(job.errors.contains("the run has 4 epochs now, not 2; "), "\(job.errors)")
        let longer = try FinishedRun(path: run)
        #expect(longer.epochs.map(\.epoch) == [1, 2, 3, 4])
        #expect(longer.results.prefix(2) == short.results[...])
        // The third and fourth epoch have the rates of a run of four: half a cosine over sixteen steps; they end with
        // steps 12 and 16.
        for (epoch, step) in [(2, 11.0), (3, 15.0)] {
            #expect(abs(longer.epochs[epoch].learningRate - 0.01 * (1 + cos(.pi * step / 16))) < 1e-9)
        }
        // Permanently: without the option it is now a run of four epochs.
        let again = try resume()
        #expect(
            again.status == 0 && again.errors.isEmpty && again.output.contains("4 steps an epoch, 4 epochs"),
            "\(again.errors)")
        #expect(try FinishedRun(path: run).weights == longer.weights)
    }

    @Test func `fewer epochs than are done, and more for a run limited by steps, are refused`() throws {
        try train(smallRun + ["--epochs", "3"], out: run)
        let fewer = try resume("--epochs", "2")
        #expect(
            fewer.status == 64 && fewer.errors.contains("--epochs is 2, but the run has finished epoch 3"),
            "\(fewer.errors)")
        try FileManager.default.removeItem(atPath: run)
        try train(smallRun + ["--epochs", "3", "--steps", "5"], out: run)
        let steps = try resume("--epochs", "6")
        #expect(steps.status == 64 && steps.errors.contains("ends after 5 steps"), "\(steps.errors)")
    }

    // MARK: - Options given again

    @Test func `options may be repeated unchanged, and different ones are refused by name`() throws {
        let options = smallRun + ["--epochs", "1", "--schedule", "step", "--normalize", "channel", "--seed", "1"]
        try train(options, out: run)
        let again = try resume("--out", scratch.path + "/./run/")
        #expect(again.status == 0, "\(again.errors)")
        let job = try densenet(
            ["train", "--resume", run, "--threads", "2", "--on-nonfinite", "skip"] + options, ranks: 2)
        #expect(job.status == 0 && job.errors.isEmpty, "\(job.errors)")
        let kept = try FinishedRun(path: run)
        for (options, words) in [
            ("--blocks 1,2", "--blocks is 1,2, but the run in \(run) has 1,1, "),
            ("--model densenet-bc-10-4", "--model is densenet-bc-10-4, but the run in \(run) has custom, "),
            ("--growth-rate 5", "--growth-rate is 5, but the run in \(run) has 4, "),
            ("--no-bottleneck", "the bottleneck (--no-bottleneck) is false, but "),
            ("--classes 12", "--classes is 12, but "), ("--data \(scratch.path)", "--data is \(scratch.path), but "),
            ("--limit-test 8", "--limit-test is 8, but "), ("--augment none", "--augment is none, but "),
            ("--normalize none", "--normalize is none, but the run in \(run) has channel, "),
            ("--steps 9", "--steps is 9, but the run in \(run) has none, "), ("--batch-size 8", "--batch-size is 8, "),
            ("--schedule cosine", "--schedule is cosine, but the run in \(run) has step at 0.5,0.75, "),
            ("--milestones 0.4", "--schedule is step at 0.4, but the run in \(run) has step at 0.5,0.75, "),
            ("--learning-rate 0.2", "--learning-rate is 0.2, but the run in \(run) has 0.1, "),
            ("--no-nesterov", "--nesterov is false, but "), ("--weight-decay 0", "--weight-decay is 0.0, but "),
            ("--no-decay-norm", "--decay-norm is false, but "), ("--label-smoothing 0.1", "--label-smoothing is 0.1, "),
            ("--class-weights balanced", "--class-weights is balanced, but the run in \(run) has none, "),
            ("--early-stop 2", "--early-stop is 2, but the run in \(run) has none, "),
            ("--best-by loss", "--best-by is loss, but the run in \(run) has accuracy, "),
            ("--ema 0.9", "--ema is 0.9, but the run in \(run) has none, "),
            ("--norm-momentum 0.2", "--norm-momentum is 0.2, but the run in \(run) has 0.1, "),
            ("--tta flip", "--tta is flip, but the run in \(run) has none, "),
            ("--seed 2", "--seed is 2, but "), ("--no-shuffle", "shuffling (--no-shuffle) is false, but "),
            ("--init nowhere", "--init is nowhere, but the run in \(run) has none, "),
            ("--init-strict", "--init-strict is true, but the run in \(run) has false, "),
            ("--freeze stem,block1", "--freeze is stem,block1, but the run in \(run) has none, "),
            ("--freeze-norm", "--freeze-norm is true, but the run in \(run) has false, "),
            (
                "--learning-rate-of norm=0.1,stem=1",
                "--learning-rate-of is stem=1.0,norm=0.1, but the run in \(run) has none, "
            ), ("--precision bf16", "--precision is bf16, but the run in \(run) has f32, "),
            (
                "--statistics-group 8",
                "the scope of batch statistics (--statistics-group, --no-sync-bn) is groups of 8, but the run in \(run) has global "
            ),
            ("--no-sync-bn", "the scope of batch statistics (--statistics-group, --no-sync-bn) is each rank, but "),
            ("--out other", "--out is other, but the run to resume is in \(run)"),
        ] {
            let job = try densenet(["train", "--resume", run] + options.split(separator: " ").map(String.init))
            #expect(job.status == 64 && job.errors.hasPrefix("densenet: \(words)"), "\(options): \(job.errors)")
        }
        #expect(try FinishedRun(path: run).weights == kept.weights && readMetrics(run).count == 1)
    }

    // MARK: - Names of run folders

    @Test func `runs that start in the same second have folders of their own`() throws {
        let program = try builtExecutable(named: "densenet")
        let command =
            "cd '\(scratch.path)'; for i in 1 2 3 4; do '\(program)' train \((smallRun + ["--steps", "1"]).joined(separator: " "))"
            + " >/dev/null || echo failed & done; wait"
        let result = try withJobSlot { try TestSupport.run("sh", ["-c", command], timeout: 60) }
        #expect(result.status == 0 && !result.output.contains("failed"), "\(result.output)\(result.errors)")
        let folders = try FileManager.default.contentsOfDirectory(atPath: scratch("runs"))
        #expect(
            folders.count == 4 && folders.allSatisfy { access(scratch("runs/\($0)/weights.safetensors"), F_OK) == 0 },
            "\(folders)")
    }
}
