import FoundationEssentials
import Glibc
import Safetensors
import TestSupport
import Testing

/// The options of `train` do what they say.
@Suite struct TrainOptionTests {
    let scratch = ScratchFolder()
    /// A rate at which no weight moves in float32.
    static let still = ["--learning-rate", "1e-30", "--weight-decay", "0", "--steps", "1"]

    private func tensors(_ run: FinishedRun) throws -> [String: [Float]] {
        let file = try SafetensorsFile(path: run.path + "/weights.safetensors")
        return try Dictionary(uniqueKeysWithValues: file.tensors.keys.map { ($0, try file.floats(named: $0)) })
    }

    @Test func `init starts from the weights of a file, and resuming no longer needs the file`() throws {
        let first = try train(smallRun + ["--epochs", "1"], out: scratch("first"))
        let given = first.path + "/weights.safetensors"
        let second = try train(
            smallRun + Self.still + ["--seed", "9", "--init", given], out: scratch("second"), ranks: 2)
        let (before, after) = (try tensors(first), try tensors(second))
        #expect(before.keys == after.keys && before.count > 20)
        for (name, values) in before {
            // A step changes the running statistics at any rate; the rest stays, except for zeros.
            if name.contains("running_") {
                #expect(after[name] != values, "\(name)")
            } else {
                #expect(
                    after[name].map { zip($0, values).allSatisfy { $0 == $1 || abs($0 - $1) < 1e-28 } } == true,
                    "\(name)")
            }
        }
        try FileManager.default.removeItem(atPath: given)
        #expect(try resume(second.path).weights == second.weights)
    }

    @Test func `init from weights for different classes reinitializes the classifier and says so`() throws {
        let first = try train(smallRun + ["--epochs", "1"], out: scratch("first"))
        let given = first.path + "/weights.safetensors"
        let options = smallRun + Self.still + ["--classes", "12", "--seed", "9"]
        let job = try densenet(["train", "--out", scratch("second"), "--init", given] + options, ranks: 2)
        #expect(
            job.status == 0
                && job.errors.lines.filter { $0.hasPrefix("densenet: ") } == [
                    "densenet: \(given): its classifier is for 10 classes, this network has 12; the classifier begins anew"
                ], "\(job.errors)")
        let (before, after) = (try tensors(first), try tensors(FinishedRun(path: scratch("second"))))
        let fresh = try tensors(train(options, out: scratch("fresh")))
        func near(_ a: [Float]?, _ b: [Float]?) -> Bool {
            guard let a, let b, a.count == b.count else { return false }
            return zip(a, b).allSatisfy { $0 == $1 || abs($0 - $1) < 1e-28 }
        }
        for (name, values) in after where !name.contains("running_") {
            #expect(near(values, name.hasPrefix("classifier.") ? fresh[name] : before[name]), "\(name)")
        }
        #expect(
            after["classifier.bias"]?.count == 12
                && !near(fresh["features.conv0.weight"], before["features.conv0.weight"]))
    }

    @Test func `no-shuffle uses the images in their order`() throws {
        func loss(_ name: String, _ options: [String]) throws -> Double {
            let options =
                smallNetwork + ["--limit-test", "8", "--batch-size", "16", "--steps", "1", "--augment", "none"]
                + options
            return try #require(try train(options + ["--normalize", "none"], out: scratch(name)).epochs.last).trainLoss
        }
        let firstImages = try loss("first", ["--limit-train", "16"])
        let inOrder = try loss("in order", ["--limit-train", "64", "--no-shuffle"])
        let shuffled = try loss("shuffled", ["--limit-train", "64"])
        #expect(abs(inOrder - firstImages) < 1e-5)
        #expect(abs(shuffled - firstImages) > 1e-3)
    }

    @Test func `steps end a run within an epoch, which is evaluated, with metrics over the images seen`() throws {
        let run = try train(smallRun + ["--epochs", "9", "--steps", "6"], out: scratch("run"))
        #expect(run.epochs.map(\.epoch) == [1, 2])
        // Two steps of 16 images: the number of correct ones is an integer.
        #expect((run.epochs[1].trainAccuracy * 32).rounded() == run.epochs[1].trainAccuracy * 32)
        let checkpoints = try FileManager.default.contentsOfDirectory(atPath: run.path + "/checkpoints").sorted()
        #expect(checkpoints == ["checkpoint-00001-00000004.safetensors", "checkpoint-00002-00000006.safetensors"])
    }

    @Test func `learning rates follow the schedule`() throws {
        func rates(_ name: String, _ options: [String]) throws -> [Double] {
            try train(smallRun + ["--epochs", "4", "--learning-rate", "0.1"] + options, out: scratch(name))
                .epochs.map(\.learningRate)
        }
        func near(_ rates: [Double], _ expected: [Double]) -> Bool {
            rates.count == expected.count && zip(rates, expected).allSatisfy { abs($0 - $1) <= 1e-9 * $1 }
        }
        // In each epoch's last step: steps 3, 7, 11 and 15 of 16.
        let steps = [3.0, 7, 11, 15]
        let step = try rates("step", [])
        #expect(near(step, [0.1, 0.1, 0.01, 0.001]), "\(step)")
        let cosine = try rates("cosine", ["--schedule", "cosine"])
        #expect(near(cosine, steps.map { 0.05 * (1 + cos(.pi * $0 / 16)) }), "\(cosine)")
        let oneCycle = try rates("one-cycle", ["--schedule", "one-cycle"])
        // Up until step 0.3 · 16 − 1 = 3.8, down until step 15.
        #expect(oneCycle.max() == oneCycle[0] && near([oneCycle[3]], [0.1 / 25 / 1e4]), "\(oneCycle)")
        #expect(near([oneCycle[0]], [0.004 + 0.048 * (1 - cos(.pi * 3 / 3.8))]), "\(oneCycle)")
        let warm = try rates("warm", ["--schedule", "constant", "--warm-up", "2"])
        #expect(near(warm, [0.05, 0.1, 0.1, 0.1]), "\(warm)")
    }

    @Test func `label smoothing changes the training loss and not the evaluation`() throws {
        let plain = try train(smallRun + Self.still, out: scratch("plain"))
        let smooth = try train(smallRun + Self.still + ["--label-smoothing", "0.3"], out: scratch("smooth"))
        #expect(abs(smooth.epochs[0].trainLoss - plain.epochs[0].trainLoss) > 1e-4)
        #expect(smooth.epochs[0].testLoss == plain.epochs[0].testLoss)
        #expect(smooth.epochs[0].trainAccuracy == plain.epochs[0].trainAccuracy)
    }

    @Test func `no-decay-norm exempts norms and biases`() throws {
        let options =
            smallRun + [
                "--steps", "1", "--learning-rate", "0.1", "--weight-decay", "0.5", "--momentum", "0", "--no-nesterov",
            ]
        let all = try tensors(train(options, out: scratch("all")))
        let spared = try tensors(train(options + ["--no-decay-norm"], out: scratch("spared")))
        for (name, values) in spared where !name.contains("running_") {
            let decayed = try #require(all[name])
            if name.contains("norm"), name.hasSuffix(".weight") {
                // A scale starts at 1 and loses 0.1 · 0.5 of it.
                #expect(zip(values, decayed).allSatisfy { abs($0 - $1 - 0.05) < 1e-6 }, "\(name)")
            } else {
                // Weights decay in both runs; biases start at 0.
                #expect(values == decayed, "\(name)")
            }
        }
    }
}
