import FoundationEssentials
import Support
import TestSupport
import Testing
import Training

/// Runs whose training images have other sizes in their first epochs.
@Suite struct ImageScheduleRunTests {
    let scratch = ScratchFolder()
    /// Four steps an epoch.
    private static let options =
        smallRun + ["--epochs", "3", "--image-schedule", "4:1,6:1,8", "--ema", "0.9", "--norm-momentum", "0.3"]
    private static let checkpoints = ["--checkpoint-steps", "3", "--keep", "9"]

    @Test(arguments: [1, 2])
    func `a network that changes sizes trains as one made for each, on images resized beforehand`(ranks: Int) throws {
        let job =
            ranks == 1
            ? try run(builtExecutable(named: "ImageSizeTestProgram"), [], timeout: 60)
            : try mpirun(ranks: ranks, program: "ImageSizeTestProgram", arguments: [], timeout: 60)
        #expect(job.status == 0, "\(job.errors)")
        let lines = job.output.lines.filter { $0.hasPrefix("4 epochs: ") }
        #expect(lines.count == 2, "\(job.output)")
        #if !DEBUG
            #expect(lines.allSatisfy { $0 == "4 epochs: 0 allocations" }, "\(job.output)")
        #endif
    }

    /// Copies a run as it was after its first checkpoints and resumes it.
    private func resume(
        _ run: FinishedRun, afterCheckpoints count: Int, evaluated: Bool = true, ranks: Int = 1
    ) throws -> FinishedRun {
        let path = scratch("after \(count), \(evaluated)")
        try FileManager.default.copyItem(atPath: run.path, toPath: path)
        let names = try FileManager.default.contentsOfDirectory(atPath: path + "/checkpoints")
        for name in names.filter({ $0.hasSuffix(".safetensors") }).sorted().dropFirst(count) {
            try FileManager.default.removeItem(atPath: "\(path)/checkpoints/\(name)")
        }
        for name in ["weights", "best"] { try FileManager.default.removeItem(atPath: "\(path)/\(name).safetensors") }
        if !evaluated { try FileManager.default.removeItem(atPath: path + "/metrics.jsonl") }
        return try TrainingTests.resume(path, ranks: ranks)
    }

    @Test func `a run resumed within any size, between two and before an evaluation gives the same bytes`() throws {
        let whole = try train(Self.options + Self.checkpoints, out: scratch("whole"))
        #expect(whole.epochs.map(\.image) == [4, 6, 8])
        // After steps 3, 4, 6, 8 and 9.
        for count in 1...5 {
            let resumed = try resume(whole, afterCheckpoints: count)
            #expect(resumed.weights == whole.weights && resumed.results == whole.results, "\(count) checkpoints")
            #expect(resumed.epochs.map(\.image) == [4, 6, 8])
        }
        // The first epoch is trained at 4 pixels and lacks its evaluation, at 8.
        let evaluating = try resume(whole, afterCheckpoints: 2, evaluated: false)
        #expect(evaluating.weights == whole.weights && evaluating.results == whole.results)
    }

    @Test func `two ranks learn what one does, and exactly the same again when resumed between two sizes`() throws {
        let one = try train(Self.options, out: scratch("one"))
        let job = try densenet(["train", "--out", scratch("two")] + Self.options + Self.checkpoints, ranks: 2)
        let shown = job.output.matches(of: /images\/s( of \d×\d pixels)?, waited/).map { $0.1 ?? "" }
        #expect(job.status == 0 && shown == [" of 4×4 pixels", " of 6×6 pixels", ""], "\(job)")
        let two = try FinishedRun(path: scratch("two"))
        #expect(two.lossDifference(to: one) <= 1e-4 && two.weights != one.weights)
        let resumed = try resume(two, afterCheckpoints: 2, ranks: 2)
        #expect(resumed.weights == two.weights && resumed.results == two.results)
    }

    @Test func `a run of small images is evaluated at the network's size, as evaluate does with its weights`() throws {
        let run = try train(Self.options + ["--steps", "4"], out: scratch("run"))
        #expect(run.epochs.map(\.image) == [4])
        struct Result: Decodable { let loss, accuracy: Double }
        func evaluate(_ name: String) throws -> Result {
            let job = try densenet([
                "evaluate", "--weights", scratch("run/\(name).safetensors"), "--limit-test", "32", "--batch-size", "16",
                "--json",
            ])
            return try JSONDecoder().decode(Result.self, from: Data(job.output.utf8))
        }
        let (result, average) = (try evaluate("weights"), try evaluate("ema"))
        #expect(result.loss == run.epochs[0].testLoss && result.accuracy == run.epochs[0].testAccuracy)
        #expect(average.loss == run.epochs[0].average?.loss && average.accuracy == run.epochs[0].average?.accuracy)
        #expect(average.loss != result.loss)
    }

    @Test func `a schedule whose sizes are all the network's changes nothing`() throws {
        let plain = try train(smallRun + ["--epochs", "3"], out: scratch("plain"))
        let scheduled = try train(smallRun + ["--epochs", "3", "--image-schedule", "8:1,8:1,8"], out: scratch("run"))
        #expect(scheduled.tensors == plain.tensors && scheduled.results == plain.results)
        #expect(plain.epochs.map(\.image) == [8, 8, 8])
    }

    @Test func `a dry run has the speed of each size, and its options read back`() throws {
        let job = try densenet(["train", "--dry-run"] + Self.options)
        let speeds = job.output.lines.filter { $0.hasPrefix("# speed: ") }
        #expect(speeds.count == 3, "\(job)")
        for (line, size) in zip(speeds, [4, 6, 8]) { #expect(line.hasSuffix(", 4 steps at \(size) pixels"), "\(line)") }
        let printed = try densenet(["train", "--print-config"] + Self.options)
        #expect(printed.output.contains("image-schedule: \"4:1,6:1,8\"") && job.output.hasPrefix(printed.output))
        let again = try densenet(
            ["train", "--print-config", "--config", scratch.write(Array(job.output.utf8), to: "options.yaml")])
        #expect(again.output == printed.output, "\(again)")
    }

    @Test func `sizes that cannot be, too many epochs and another schedule of a resumed run are refused by name`()
        throws
    {
        for (schedule, words) in [
            (
                "4:3,8",
                "--image-schedule 4:3,8 has 3 epochs before its last size, expected less than --epochs, which is 3"
            ),
            ("4:1,6", "--image-schedule 4:1,6 ends with 6 pixels, expected those of the network, 8 (--image)"),
            ("1:1,8", "image size 1 is too small: cifar stem and 2 blocks need 2 pixels or more"),
            ("2000:1,8", "image size 2000: expected 1 to 1024 pixels"),
            ("4:1", "expected pixels:epochs, separated by commas, and pixels without epochs at last, as 16:3,24:2,32"),
        ] {
            let job = try densenet(
                ["train", "--out", scratch("run")] + smallRun + ["--epochs", "3", "--image-schedule", schedule])
            #expect(job.status == 64 && job.errors.contains(words), "\(job)")
            #expect(job.errors.lines.count == 1 && scratch.names.isEmpty, "\(job)")
        }
        try train(Self.options, out: scratch("run"))
        let other = try densenet(["train", "--resume", scratch("run"), "--image-schedule", "4:2,8"])
        #expect(
            other.status == 64
                && other.errors.contains("--image-schedule is 4:2,8, but the run in \(scratch("run")) has 4:1,6:1,8, "),
            "\(other)")
    }
}
