import DenseNetModel
import FoundationEssentials
import Safetensors
import Support
import TestSupport
import Testing

@testable import Training

/// `--freeze`, `--freeze-norm` and `--learning-rate-of`, over real ranks.
@Suite struct FineTuningTests {
    let scratch = ScratchFolder()

    /// A run of two epochs whose steps would move any parameter, also without a gradient.
    private static let options =
        smallNetwork + [
            "--limit-train", "65", "--limit-test", "33", "--batch-size", "16", "--epochs", "2", "--schedule",
            "constant",
            "--momentum", "0.9", "--weight-decay", "0.01", "--ema", "0.9", "--seed", "3",
        ]

    private func tensors(_ file: String, prefix: String = "") throws -> [String: [Float]] {
        let file = try SafetensorsFile(path: file)
        let names = file.tensors.keys.filter { $0.hasPrefix(prefix) }
        return try Dictionary(
            uniqueKeysWithValues: names.map { (String($0.dropFirst(prefix.count)), try file.floats(named: $0)) })
    }

    /// The path of weights to start from: those of three steps.
    private func given() throws -> String {
        try train(smallRun + ["--steps", "3", "--seed", "8"], out: scratch("given")).path + "/weights.safetensors"
    }

    // MARK: - Frozen parts

    private static let tensorNames = [
        "stem": "features.conv0.", "block1": "features.denseblock1.", "transition1": "features.transition1.",
        "norm": "features.norm5.",
    ]

    @Test(arguments: [
        ("stem,block1,transition1", []), ("stem,block1,transition1", ["--freeze-norm"]),
        ("stem,block1", ["--freeze-norm", "--statistics-group", "4"]), ("block1,norm", []),
    ])
    func `what is frozen keeps its bits, and so do its running statistics with frozen norms`(
        _ parts: String, _ norms: [String]
    ) throws {
        let given = try given()
        let run = try train(
            Self.options + ["--init", given, "--freeze", parts] + norms, out: scratch("run"), ranks: 2)
        let frozen = parts.split(separator: ",").compactMap { Self.tensorNames[String($0)] }
        let before = try tensors(given)
        let checkpoint = "\(run.path)/checkpoints/\(CheckpointPosition(epoch: 2, step: 10).fileName)"
        let momenta = try tensors(checkpoint, prefix: "momentum.")
        for weights in ["weights", "ema"] {
            for (name, values) in try tensors("\(run.path)/\(weights).safetensors") {
                let isFrozen = frozen.contains(where: name.hasPrefix)
                let isFixed = isFrozen && (!name.contains("running_") || !norms.isEmpty)
                // A number of what learns may stay by chance.
                let same = zip(values, try #require(before[name])).count { $0 == $1 }
                #expect(isFixed ? same == values.count : same <= values.count / 2, "\(weights) \(name): \(same)")
                guard let momentum = momenta[name] else { continue }
                #expect(isFrozen == momentum.allSatisfy { $0 == 0 }, "\(name)")
            }
        }
    }

    @Test(arguments: [
        ["--freeze", "stem,block1,transition1", "--freeze-norm"],
        ["--freeze", "features", "--freeze-norm"], ["--freeze", "block1,norm", "--statistics-group", "4"],
    ])
    func `one, two and three ranks learn the same`(_ freeze: [String]) throws {
        let options = Self.options + ["--learning-rate-of", "classifier=0.02"] + freeze
        let runs = try (1...3).map { try train(options, out: scratch("\($0)"), ranks: $0) }
        #expect(runs[1].lossDifference(to: runs[0]) <= 1e-4 && runs[2].lossDifference(to: runs[0]) <= 1e-4)
        let (one, three) = (
            try tensors(runs[0].path + "/weights.safetensors"), try tensors(runs[2].path + "/weights.safetensors")
        )
        for (name, values) in one {
            #expect(zip(values, try #require(three[name])).allSatisfy { abs($0 - $1) < 1e-3 }, "\(name)")
        }
    }

    @Test(arguments: [[], ["--freeze-norm"]])
    func `a run that is resumed has the same bytes`(_ norms: [String]) throws {
        let given = try given()
        let options =
            Self.options + ["--init", given, "--freeze", "stem,block1", "--learning-rate-of", "classifier=0.02"] + norms
        let whole = try train(options, out: scratch("whole"), ranks: 2)
        let parts = scratch("parts")
        try train(options + ["--epochs", "1"], out: parts, ranks: 2)
        let job = try densenet(["train", "--resume", parts, "--epochs", "2"], ranks: 2)
        #expect(job.status == 0, "\(job.errors)")
        let resumed = try FinishedRun(path: parts)
        #expect(resumed.tensors == whole.tensors && resumed.averageTensors == whole.averageTensors)
        #expect(resumed.results == whole.results)
        let text = String(decoding: try scratch.read("parts/config.json"), as: UTF8.self)
        #expect(text.contains(#""version" : 3"#), "\(text)")
    }

    @Test func `with evaluated features the training loss is what an evaluation of these images gives`() throws {
        let given = try given()
        let made = try densenet(["synthesize", scratch("images"), "--train", "64", "--test", "8"])
        try #require(made.status == 0, "\(made.errors)")
        // The training images are the test images too.
        let names = try FileManager.default.subpathsOfDirectory(atPath: scratch("images")).sorted()
        let test = try #require(names.first { $0.hasSuffix("test_batch.bin") })
        let bytes = try names.filter { $0.contains("data_batch_") }.flatMap { try scratch.read("images/" + $0) }
        _ = try scratch.write(bytes, to: "images/" + test)
        let options =
            Array(smallNetwork.dropLast(2)) + TrainOptionTests.still + [
                "--data", scratch("images"), "--batch-size", "64", "--augment", "none", "--init", given, "--freeze",
                "features",
            ]
        func losses(_ name: String, _ norms: [String]) throws -> (train: Double, test: Double) {
            let last = try #require(try train(options + norms, out: scratch(name), ranks: 2).epochs.last)
            return (last.trainLoss, last.testLoss)
        }
        let (evaluated, trained) = (try losses("evaluated", ["--freeze-norm"]), try losses("trained", []))
        #expect(abs(evaluated.train - evaluated.test) < 1e-5 * evaluated.test)
        #expect(abs(trained.train - trained.test) > 1e-3 * trained.test)
    }

    // MARK: - Learning rates of parts

    @Test func `parts that are all named with one rate learn as by that rate`() throws {
        let options = Self.options + ["--schedule", "cosine", "--warm-up", "1", "--base-batch", "32"]
        let whole = try train(options + ["--learning-rate", "0.0625"], out: scratch("whole"), ranks: 2)
        // A power of two, by which no number is rounded.
        let parts = try train(
            options + ["--learning-rate", "0.125", "--learning-rate-of", "features=0.0625,classifier=0.0625"],
            out: scratch("parts"), ranks: 2)
        #expect(parts.tensors == whole.tensors && parts.averageTensors == whole.averageTensors)
    }

    @Test func `a part moves by its own rate, and the others by the run's`() throws {
        let options =
            smallRun + ["--steps", "1", "--momentum", "0", "--no-nesterov", "--weight-decay", "0", "--seed", "8"]
        let still = try tensors(
            train(options + ["--learning-rate", "1e-30"], out: scratch("still")).path + "/weights.safetensors")
        func moves(_ name: String, _ rates: [String]) throws -> [String: [Float]] {
            let run = try train(options + ["--learning-rate", "0.1"] + rates, out: scratch(name), ranks: 2)
            return try tensors(run.path + "/weights.safetensors").filter { !$0.key.contains("running_") }
                .reduce(into: [:]) { moves, tensor in
                    moves[tensor.key] = zip(tensor.value, still[tensor.key]!).map { $0 - $1 }
                }
        }
        let (plain, parts) = (
            try moves("plain", []), try moves("parts", ["--learning-rate-of", "classifier=0.3,block2=0.2"])
        )
        for (name, move) in parts {
            let factor: Float =
                name.hasPrefix("classifier.") ? 3 : name.hasPrefix("features.denseblock2.") ? 2 : 1
            let expected = try #require(plain[name]).map { factor * $0 }
            // Weights of about 1 are rounded by 1e-7.
            #expect(zip(move, expected).allSatisfy { abs($0 - $1) < 1e-5 * abs($1) + 4e-7 }, "\(name)")
            #expect(factor > 1 || move == plain[name]!, "\(name)")
            #expect(move.contains { abs($0) > 1e-4 } || factor == 1, "\(name)")
        }
    }

    // MARK: - Weights for other classes

    @Test func `init-strict refuses a classifier for other classes, and takes one for as many`() throws {
        let given = try given()
        let options = ["train", "--out", scratch("run"), "--init", given, "--init-strict"] + smallRun
        let refused = try densenet(options + ["--classes", "12"], ranks: 2)
        let line =
            "densenet: \(given): its classifier is for 10 classes, this network has 12; give weights for as many, or leave out "
            + "--init-strict to begin it anew"
        #expect(refused.status == Failure.Kind.data.rawValue, "\(refused)")
        #expect(refused.errors.lines.filter { $0.hasPrefix("densenet:") } == [line[...]], "\(refused.errors)")
        #expect(scratch.names == ["given"])
        let taken = try densenet(options + ["--steps", "1"])
        #expect(taken.status == 0, "\(taken.errors)")
    }
}
