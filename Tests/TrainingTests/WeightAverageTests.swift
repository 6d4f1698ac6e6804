import FoundationEssentials
import Safetensors
import TestSupport
import Testing

@testable import Training

/// `--ema`, and what else is evaluated beside the weights. That stopped, killed and shared runs have the same averages,
/// the tests of those expect.
@Suite struct WeightAverageTests {
    let scratch = ScratchFolder()
    private static let decay = 0.4

    private func tensors(_ path: String, prefix: String = "") throws -> [String: [Float]] {
        let file = try SafetensorsFile(path: path)
        let names = file.tensors.keys.filter { $0.hasPrefix(prefix) && (prefix != "" || !$0.hasPrefix("momentum.")) }
        return try Dictionary(
            uniqueKeysWithValues: names.map { (String($0.dropFirst(prefix.count)), try file.floats(named: $0)) })
    }

    private func checkpoint(_ run: FinishedRun, epoch: Int, step: Int) -> String {
        "\(run.path)/checkpoints/\(CheckpointPosition(epoch: epoch, step: step).fileName)"
    }

    /// Eight steps in two epochs, with a checkpoint after each.
    private func averagedRun(_ options: [String] = []) throws -> FinishedRun {
        try train(
            smallRun + ["--epochs", "2", "--ema", "\(Self.decay)", "--checkpoint-steps", "1", "--keep", "9"] + options,
            out: scratch("run"), ranks: 2)
    }

    @Test func `the average follows the weights by the formula, and what is stated of it is what evaluating it gives`()
        throws
    {
        let run = try averagedRun(["--tta", "flip", "--norm-momentum", "0.3"])
        try expectFormula(run)
        try expectEvaluations(run)
        try expectNormMomentum(run)
        let averages = try tensors(run.path + "/ema.safetensors")
        #expect(try averages == tensors(checkpoint(run, epoch: 2, step: 8), prefix: "ema."))
        let best = try #require(
            run.epochs.max { ($0.average?.accuracy ?? -1, -$0.epoch) < ($1.average?.accuracy ?? -1, -$1.epoch) })
        #expect(
            try tensors(run.path + "/best.safetensors")
                == tensors(checkpoint(run, epoch: best.epoch, step: 4 * best.epoch), prefix: "ema."))
        let bestMetadata = try SafetensorsFile(path: run.path + "/best.safetensors").metadata
        #expect(bestMetadata["test_accuracy"] == "\(try #require(best.average).accuracy)")
        for name in ["config.json", "checkpoints/checkpoint-00002-00000008.safetensors"] {
            let text = String(decoding: try scratch.read("run/" + name).prefix(2000), as: UTF8.self)
            #expect(text.contains(#""version" : 2"#) || text.contains(#""version":"2""#), "\(name): \(text)")
        }
    }

    /// With checkpoints of each step: average ← d·average + (1 − d)·weights, d = min(decay, (1 + t)/(10 + t)).
    private func expectFormula(_ run: FinishedRun) throws {
        let fresh = try freshSmallNetwork()
        var expected: [String: [Double]] = [:]
        for (parameters, buffer) in [
            (fresh.table.trainable, fresh.parameters), (fresh.table.runningStatistics, fresh.runningStatistics),
        ] {
            for parameter in parameters { expected[parameter.name] = buffer[parameter.range].map(Double.init) }
        }
        for step in 1...8 {
            let path = checkpoint(run, epoch: step / 4, step: step)
            let (weights, averages) = (try tensors(path), try tensors(path, prefix: "ema."))
            let d = min(Self.decay, Double(1 + step) / Double(10 + step))
            #expect(averages.keys.sorted() == expected.keys.sorted())
            for (name, values) in expected {
                let moved = zip(values, try #require(weights[name])).map { d * $0 + (1 - d) * Double($1) }
                expected[name] = moved
                let largest = moved.map(abs).max() ?? 0
                let found = try #require(averages[name])
                #expect(
                    found.count == moved.count
                        && zip(found, moved).allSatisfy { abs(Double($0) - $1) <= 1e-6 * largest },
                    "\(name) after step \(step)")
            }
        }
    }

    private struct Evaluated: Decodable {
        let loss, accuracy: Double

        func isNear(_ result: TestResult?) -> Bool {
            guard let result else { return false }
            return abs(loss - result.loss) < 1e-5 && accuracy == result.accuracy
        }
    }

    private struct Summary: Decodable {
        let ema, loss: Double?
        let accuracy: Double

        enum CodingKeys: String, CodingKey {
            case ema
            case loss = "test_loss"
            case accuracy = "test_accuracy"
        }
    }

    private func expectEvaluations(_ run: FinishedRun) throws {
        let files = ["weights.safetensors", "ema.safetensors"].map { "\(run.path)/\($0)" }
        func evaluate(_ options: [String]) throws -> [Evaluated] {
            let job = try densenet(["evaluate", "--json", "--limit-test", "32"] + options + ["--weights"] + files)
            try #require(job.status == 0, "\(job.errors)")
            return try JSONDecoder().decode([Evaluated].self, from: Data(job.output.utf8))
        }
        let (first, last) = (run.epochs[0], run.epochs[1])
        let (plain, flipped) = (try evaluate([]), try evaluate(["--tta", "flip"]))
        #expect(plain[0].isNear(TestResult(last.testLoss, last.testAccuracy)) && plain[1].isNear(last.average))
        #expect(flipped[0].isNear(last.flipped) && flipped[1].isNear(last.averageFlipped))
        // Four numbers that differ, and an epoch before the last has no mirror images.
        #expect(Set((plain + flipped).map(\.loss)).count == 4)
        #expect(first.average != nil && first.flipped == nil && first.averageFlipped == nil)
        for (file, ema, result) in [
            (files[0], nil, TestResult(last.testLoss, last.testAccuracy)), (files[1], Self.decay, last.average),
        ] {
            let text = try #require(SafetensorsFile(path: file).metadata["training"])
            let summary = try JSONDecoder().decode(Summary.self, from: Data(text.utf8))
            #expect(summary.ema == ema && summary.loss == result?.loss, "\(text)")
            #expect(summary.accuracy == result?.accuracy, "\(text)")
        }
    }

    /// The first step has the same batch statistics at any momentum m: PyTorch's (1 − m)·running + m·batch, solved for
    /// them.
    private func expectNormMomentum(_ run: FinishedRun) throws {
        let other = try train(smallRun + ["--steps", "1"], out: scratch("other"))
        let (with, without) = (
            try tensors(checkpoint(run, epoch: 0, step: 1)), try tensors(other.path + "/weights.safetensors")
        )
        func batch(_ running: Float, _ momentum: Double, _ name: String) -> Double {
            (Double(running) - (1 - momentum) * (name.hasSuffix("var") ? 1 : 0)) / momentum
        }
        for (name, values) in without where name.contains("running_") {
            let pairs = zip(try #require(with[name]), values)
            #expect(
                pairs.allSatisfy { abs(batch($0, 0.3, name) - batch($1, 0.1, name)) < 1e-4 }
                    && pairs.contains { $0 != $1 }, "\(name)")
        }
        let checkpoint = try SafetensorsFile(path: "\(other.path)/checkpoints/checkpoint-00001-00000001.safetensors")
        #expect(!checkpoint.tensors.keys.contains { $0.hasPrefix("ema.") } && checkpoint.metadata["version"] == "1")
        #expect(!FileManager.default.fileExists(atPath: other.path + "/ema.safetensors"))
    }

    @Test func `lines and last screen have each result apart`() throws {
        let job = try densenet(
            ["train", "--out", scratch("run")] + smallRun + ["--epochs", "2", "--ema", "0.9", "--tta", "flip"])
        try #require(job.status == 0, "\(job.errors)")
        let last = try #require(try readMetrics(scratch("run")).last)
        func words(_ result: TestResult?) -> String {
            "Test loss: \(result?.loss.formatted(places: 4) ?? ""), Test accuracy: \(result?.accuracy.formatted(places: 4) ?? "")"
        }
        for (name, result) in [
            ("average", last.average), ("with flip", last.flipped), ("average with flip", last.averageFlipped),
        ] {
            #expect(job.output.lines.contains("\(name): \(words(result))"), "\(job.output)")
            #expect(job.output.lines.contains { $0.hasPrefix("last, \(name): test accuracy ") }, "\(job.output)")
        }
        #expect(job.output.lines.count { $0.hasPrefix("average: ") } == 2, "\(job.output)")
        #expect(job.output.lines.count { $0.hasPrefix("with flip: ") } == 1, "\(job.output)")
        #expect(job.output.lines.contains("averaged weights: \(scratch("run"))/ema.safetensors"), "\(job.output)")
        let page = String(decoding: try scratch.read("run/report.html"), as: UTF8.self)
        #expect(page.contains("run, average") && page.contains("test accuracy, average with flip"))
    }
}
