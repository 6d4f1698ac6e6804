import FoundationEssentials
import TestSupport
import Testing
import Training

/// What `train` and `evaluate` print, where, and how much of it.
@Suite struct LoggingTests {
    let scratch = ScratchFolder()
    private var path: String { scratch("run") }

    private func succeed(
        _ options: [String], ranks: Int = 1, environment: [String: String?] = [:]
    ) throws -> ProgramResult {
        let job = try densenet(["train"] + options, ranks: ranks, environment: environment)
        try #require(job.status == 0, "\(job)")
        return job
    }

    @Test func `the first line says where a run takes place, the last screen what it came to and where that is`() throws
    {
        let job = try succeed(smallRun + ["--out", path, "--epochs", "3", "--threads", "1"], ranks: 2)
        let lines = job.output.lines.map { $0.replacing("×", with: "x") }
        #expect(
            lines[0].contains(/^2 ranks x 1 thread on 1 host \([^,]+\), vector level [^ ]+, (not )?bound to cores$/),
            "\(job.output)")
        let run = try FinishedRun(path: path)
        let accuracies = run.epochs.map(\.testAccuracy)
        let best = 1 + accuracies.firstIndex(of: accuracies.max()!)!
        let screen = lines.suffix(8)
        #expect(screen.contains { $0.hasPrefix("3 epochs in ") && $0.hasSuffix(" images/s") }, "\(job.output)")
        #expect(screen.contains { $0.hasPrefix("best: epoch \(best), test accuracy ") }, "\(job.output)")
        #expect(screen.contains { $0.hasPrefix("last: epoch 3, test accuracy ") }, "\(job.output)")
        #expect(screen.contains { $0 == "best weights: \(path)/best.safetensors" }, "\(job.output)")
        #expect(screen.contains { $0 == "report: \(path)/report.html" }, "\(job.output)")
        #expect(lines.last == "weights: \(path)/weights.safetensors")
        // Also where the run has nothing left to do.
        let again = try succeed(["--out", path, "--resume", "auto"])
        let shown = again.output.lines
        #expect(
            shown.contains { $0.hasPrefix("3 epochs in ") } && shown.contains { $0.hasPrefix("best: epoch \(best), ") })
        #expect(shown.last == "weights: \(path)/weights.safetensors", "\(again)")
    }

    @Test func `quiet prints the result alone, verbose where the time goes, and both is refused`() throws {
        let quiet = try succeed(smallRun + ["--out", path, "--epochs", "1", "--quiet"], ranks: 2)
        #expect(quiet.output == "weights: \(path)/weights.safetensors\n", "\(quiet)")
        let errors = quiet.errors.lines.filter { $0.hasPrefix("[") || $0.hasPrefix("densenet") }
        #expect(errors.isEmpty, "\(quiet)")
        let again = try succeed(["--out", path, "--resume", "auto", "--quiet"])
        #expect(again.output == quiet.output && again.errors == "", "\(again)")
        // Logging is no part of what a run is.
        let verbose = try succeed(["--resume", path, "--epochs", "2", "--verbose", "--log-every", "1"])
        #expect(verbose.output.contains(/\nrank 0: .+, processors [0-9]/), "\(verbose.output)")
        #expect(
            verbose.output.contains(/\n    training .+, evaluation .+, learning rate .+ MiB resident/), "\(verbose)")
        let both = try densenet(["train", "--quiet", "--verbose"])
        #expect(both.status == 64 && both.errors.contains("--quiet and --verbose contradict each other"), "\(both)")
        let weights = ["evaluate", "--weights", path, "--limit-test", "64", "--batch-size", "16"]
        let silent = try densenet(weights + ["--quiet", "--threads", "1"])
        #expect(silent.status == 0 && silent.errors == "" && silent.output.contains("Test loss: "), "\(silent)")
        let told = try densenet(weights + ["--verbose", "--log-every", "2"])
        #expect(told.errors.lines.count == 2 && told.output.contains("evaluated in "), "\(told)")
    }

    @Test func `log-every is obeyed exactly, and print-config has what is given of logging`() throws {
        let options = smallRun + ["--log-every", "3", "--step-metrics", "2"]
        let job = try succeed(options + ["--out", path, "--epochs", "2"])
        // Four steps an epoch, two batches an evaluation.
        let lines = job.errors.lines.filter { $0.hasPrefix("[") }
        #expect(
            lines.map { $0.prefix { $0 != "," } } == [
                "[Training] epoch 1/2:  75% 3/4", "[Training] epoch 2/2:  50% 2/4",
            ], "\(job.errors)")
        #expect(lines.allSatisfy { $0.contains("<") && $0.contains("], run ") }, "\(lines)")
        let printed = try densenet(["train", "--print-config"] + options)
        #expect(printed.output.contains("logging:\n  log-every: 3\n  step-metrics: 2\n"), "\(printed)")
        let file = try scratch.write(Array(printed.output.utf8), to: "options.yaml")
        #expect(try densenet(["train", "--print-config", "--config", file]).output == printed.output)
        #expect(try !String(decoding: scratch.read("run/config.json"), as: UTF8.self).contains("stepMetrics"))
        for option in ["--log-every", "--step-metrics"] {
            let refused = try densenet(["train", option, "0"] + smallRun + ["--out", scratch("other")])
            #expect(
                refused.status == 64 && refused.errors.contains("\(option) is 0, expected 1 or more steps"),
                "\(refused)")
        }
        #expect(!FileManager.default.fileExists(atPath: scratch("other")))
    }

    @Test func `metrics have lines of steps where they are asked for, whose means are the epoch's`() throws {
        // Four steps an epoch, of sixteen images each.
        let run = try train(smallRun + ["--epochs", "3", "--step-metrics", "2"], out: path, ranks: 2)
        let steps = try readStepRecords(path)
        #expect(steps.map(\.step) == [2, 4, 6, 8, 10, 12] && steps.map(\.epoch) == [1, 1, 2, 2, 3, 3], "\(steps)")
        for (index, epoch) in run.epochs.enumerated() {
            let two = steps[(2 * index)..<(2 * index + 2)]
            #expect(abs(two.map(\.loss).reduce(0, +) / 2 - epoch.trainLoss) < 1e-9)
            #expect(abs(two.map(\.accuracy).reduce(0, +) / 2 - epoch.trainAccuracy) < 1e-9)
            #expect(two.last?.learningRate == epoch.learningRate && two.allSatisfy { $0.imagesPerSecond > 0 })
        }
        // The lines stand in the order of what they tell.
        let keys = try String(decoding: scratch.read("run/metrics.jsonl"), as: UTF8.self).lines.map {
            $0.contains(#""step":"#) ? "s" : "e"
        }
        #expect(keys.joined() == "ssessesse")
        let plain = try train(smallRun + ["--epochs", "3"], out: scratch("plain"), ranks: 2)
        #expect(try plain.weights == run.weights && readStepRecords(plain.path).isEmpty)
    }

    @Test(arguments: [(80, false), (40, false), (80, true)])
    func `a terminal has a line that never wraps, and colours unless NO_COLOR is set`(
        columns: Int, refusesColour: Bool
    ) throws {
        let program = try builtExecutable(named: "densenet")
        let options = smallRun.joined(separator: " ") + " --limit-train 2000 --epochs 2 --threads 1"
        let job = try run(
            "script", ["-qec", "stty cols \(columns); '\(program)' train --out '\(path)' \(options)", "/dev/null"],
            environment: ["LC_ALL": "C.UTF-8", "TERM": "xterm", "NO_COLOR": refusesColour ? "1" : nil])
        #expect(job.status == 0, "\(job)")
        let drawn = job.output.split { $0 == "\r" || $0 == "\n" || $0 == "\r\n" }.filter {
            $0.contains("%, loss ") || $0.contains("%|")
        }
        #expect(drawn.count > 4 && drawn.allSatisfy { $0.count <= columns }, "\(drawn)")
        #expect(drawn.allSatisfy { $0.contains(", run ") && $0.contains("loss ") }, "\(drawn)")
        #expect(drawn.contains { $0.hasPrefix(columns == 80 ? "[Training 2/2] loss" : "[Training] ") }, "\(drawn)")
        #expect(job.output.contains("\u{1B}[32mTest loss: ") != refusesColour, "\(job.output)")
        #expect(job.output.contains("\u{1B}") != refusesColour)
    }

    @Test func `there is no colour without a terminal, and other lines of logging after resuming`() throws {
        let first = try succeed(smallRun + ["--out", path, "--epochs", "1"], ranks: 2, environment: ["TERM": "xterm"])
        #expect(!first.output.contains("\u{1B}") && !first.errors.contains("\u{1B}"))
        _ = try succeed(["--resume", path, "--epochs", "2", "--step-metrics", "4"])
        #expect(try readStepRecords(path).map(\.step) == [8])
    }
}
