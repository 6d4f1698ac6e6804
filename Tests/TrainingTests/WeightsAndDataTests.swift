import FoundationEssentials
import ImageData
import Safetensors
import Support
import TestSupport
import Testing

/// The files that a run writes can be used, and those that it reads can come from elsewhere.
@Suite struct WeightsAndDataTests {
    let scratch = ScratchFolder()

    /// Evaluates weights; returns the line of loss and accuracy, and per class the images recognized and in total.
    private func evaluate(
        _ run: FinishedRun, weights: String = "weights.safetensors", ranks: Int, _ options: [String]
    ) throws -> (line: Substring, classes: [(hits: Int, all: Int)]) {
        let job = try densenet(["evaluate", "--weights", "\(run.path)/\(weights)"] + options, ranks: ranks)
        try #require(job.status == 0, "\(job.output)\(job.errors)")
        let lines = job.output.lines
        try #require(lines.count > 4, "\(job.output)")
        // Behind the means and the headings.
        let classes = lines.dropFirst(4).map { line in
            let numbers = line.split { !$0.isNumber }.suffix(2).compactMap { Int($0) }
            return (numbers[0], numbers[1])
        }
        return (lines[1], classes)
    }

    /// Compares an evaluation with the last line of a run's metrics.
    private func expectSame(
        _ run: FinishedRun, weights: String = "weights.safetensors", ranks: Int, _ options: [String], images: Int
    ) throws {
        let last = try #require(run.epochs.last)
        let (line, classes) = try evaluate(run, weights: weights, ranks: ranks, options)
        let (loss, accuracy) = (last.testLoss.formatted(places: 4), last.testAccuracy.formatted(places: 4))
        #expect(line == "Test loss: \(loss), Test accuracy: \(accuracy)")
        let hits = classes.map(\.hits).reduce(0, +)
        let all = classes.map(\.all).reduce(0, +)
        #expect(all == images && Double(hits) / Double(all) == last.testAccuracy, "\(classes)")
        #expect(classes.allSatisfy { 0...$0.all ~= $0.hits })
    }

    @Test(arguments: ["channel", "pixel-mean"])
    func `evaluating a run's weights gives the metrics of its last epoch`(normalize: String) throws {
        let run = try train(
            smallNetwork + ["--limit-train", "64", "--limit-test", "131", "--batch-size", "16", "--epochs", "2"]
                + ["--normalize", normalize],
            out: scratch("run"), ranks: 2)
        // 131 is prime; the batch size must not matter either.
        try expectSame(run, ranks: 1, ["--limit-test", "131"], images: 131)
        try expectSame(run, ranks: 3, ["--limit-test", "131", "--batch-size", "50"], images: 131)
    }

    @Test func `a checkpoint can be evaluated and started from like the weights written with it`() throws {
        let options = smallRun + ["--epochs", "1", "--mean", "0.1,0.2,0.3", "--std", "0.5,0.6,0.7"]
        let run = try train(options, out: scratch("run"))
        let checkpoint = "checkpoints/checkpoint-00001-00000004.safetensors"
        try expectSame(run, weights: checkpoint, ranks: 2, ["--limit-test", "32"], images: 32)
        let fromWeights = try train(
            smallRun + ["--epochs", "1", "--init", run.path + "/weights.safetensors"], out: scratch("weights"))
        let fromCheckpoint = try train(
            smallRun + ["--epochs", "1", "--init", "\(run.path)/\(checkpoint)"], out: scratch("checkpoint"))
        #expect(fromCheckpoint.weights == fromWeights.weights && fromCheckpoint.results == fromWeights.results)
        // A file of weights may not have momenta.
        let file = try SafetensorsFile(path: "\(run.path)/\(checkpoint)")
        let numbers = try file.tensors.mapValues { $0.shape }.map { ($0, $1, try file.floats(named: $0)) }
        let buffers = numbers.map { AlignedBuffer<Float>(count: $2.count) }
        for (buffer, (_, _, values)) in zip(buffers, numbers) { _ = buffer.elements.update(fromContentsOf: values) }
        let tensors = zip(buffers, numbers).map {
            NamedTensor(name: $1.0, shape: $1.1, values: UnsafeBufferPointer($0.elements))
        }
        try SafetensorsWriter.write(
            to: scratch("bare"), tensors: tensors, metadata: ["config": file.metadata["config"] ?? ""])
        let job = try densenet(["evaluate", "--weights", scratch("bare")])
        #expect(
            job.status == Failure.Kind.data.rawValue && job.errors.contains("has the tensor 'momentum."),
            "\(job.errors)")
    }

    @Test func `synthesized files train like the built-in images`() throws {
        let options =
            smallNetwork.dropLast(2)
            + ["--limit-train", "64", "--limit-test", "32", "--batch-size", "16", "--epochs", "2"]
        let job = try densenet(["synthesize", scratch("images"), "--train", "64", "--test", "40", "--seed", "5"])
        try #require(job.status == 0, "\(job.errors)")
        let builtIn = try train(options + ["--seed", "5"], out: scratch("built-in"))
        let files = try train(options + ["--seed", "5", "--data", scratch("images")], out: scratch("files"))
        #expect(files.tensors == builtIn.tensors)
        #expect(files.results == builtIn.results)
        try expectSame(files, ranks: 2, ["--data", scratch("images"), "--limit-test", "32"], images: 32)
    }

    @Test func `with flip an image counts as its mirror image does, and for no more than both`() throws {
        struct Result: Decodable { let loss, accuracy: Double }
        let (images, mirrored) = (scratch("images"), scratch("mirrored"))
        let made = try densenet(["synthesize", images, "--train", "64", "--test", "40"])
        try #require(made.status == 0, "\(made.errors)")
        try FileManager.default.copyItem(atPath: images, toPath: mirrored)
        let test = try #require(
            try FileManager.default.subpathsOfDirectory(atPath: mirrored).first { $0.hasSuffix("test_batch.bin") })
        var bytes = try scratch.read("mirrored/" + test)
        for row in stride(from: 0, to: bytes.count / 3073 * 96, by: 1) {
            let start = row / 96 * 3073 + 1 + row % 96 * 32
            bytes[start..<start + 32].reverse()
        }
        _ = try scratch.write(bytes, to: "mirrored/" + test)
        let run = try train(
            smallNetwork.dropLast(2) + ["--batch-size", "16", "--epochs", "2", "--augment", "none", "--data", images],
            out: scratch("run"))
        func evaluate(_ data: String, _ options: [String], ranks: Int = 1) throws -> Result {
            let job = try densenet(
                ["evaluate", "--weights", run.path, "--data", data, "--json"] + options, ranks: ranks)
            try #require(job.status == 0, "\(job.output)\(job.errors)")
            return try JSONDecoder().decode(Result.self, from: Data(job.output.utf8))
        }
        let (plain, other) = (try evaluate(images, []), try evaluate(mirrored, []))
        let (both, again) = (
            try evaluate(images, ["--tta", "flip"]), try evaluate(mirrored, ["--tta", "flip"], ranks: 3)
        )
        #expect(abs(plain.loss - other.loss) > 1e-4)
        #expect(abs(both.loss - again.loss) < 1e-6 && both.accuracy == again.accuracy)
        // Cross-entropy is convex in the logits.
        #expect(both.loss < (plain.loss + other.loss) / 2 && both.loss != plain.loss)
    }

    @Test func `CIFAR-100's layout trains with a hundred classes`() throws {
        var random = CounterRandom(.synthetic, 100)
        // A coarse label, the fine one, the planes.
        func records(_ count: Int) -> [UInt8] {
            var bytes: [UInt8] = []
            for index in 0..<count {
                bytes += [UInt8(index % 20), UInt8(99 - index % 100)]
                for _ in 0..<3072 { bytes.append(UInt8(random.below(256))) }
            }
            return bytes
        }
        try FileManager.default.createDirectory(
            atPath: scratch("images/cifar-100-binary"), withIntermediateDirectories: true)
        _ = try scratch.write(records(40), to: "images/cifar-100-binary/train.bin")
        _ = try scratch.write(records(120), to: "images/cifar-100-binary/test.bin")
        let run = try train(
            smallNetwork.dropLast(2) + ["--batch-size", "16", "--epochs", "1", "--data", scratch("images")],
            out: scratch("run"), ranks: 2)
        let file = try SafetensorsFile(path: run.path + "/weights.safetensors")
        #expect(file.tensors["classifier.bias"]?.shape == [100])
        try expectSame(run, ranks: 2, ["--data", scratch("images")], images: 120)
        let (_, classes) = try evaluate(run, ranks: 1, ["--data", scratch("images")])
        // Labels 99 down to 0, and twenty more from 99 down.
        #expect(classes.map(\.all) == [Int](repeating: 1, count: 80) + [Int](repeating: 2, count: 20))
    }

    @Test(arguments: [
        (["densenet121", "--classes", "1000"], "7,978,856"), (["densenet-bc-100-12"], "769,162"),
        (["densenet-40-12"], "1,019,722"),
    ])
    func `describe counts the parameters that the papers count`(arguments: [String], parameters: String) throws {
        let job = try densenet(["describe"] + arguments)
        #expect(job.status == 0 && job.output.contains(parameters), "\(job.output)\(job.errors)")
    }
}
