import DenseNetModel
import FoundationEssentials
import Glibc
import ImageData
import Safetensors
import Support
import TestSupport
import Testing

/// `predict`, as a user runs it.
@Suite struct PredictTests {
    let scratch = ScratchFolder()
    private let fixtures =
        #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined() + "/PicturesTests/Fixtures"

    /// A picture of the JSON array.
    private struct Entry: Decodable, Equatable {
        struct Class: Decodable, Equatable {
            let name: String
            let label: Int
            let probability: Float
            let logit: Float?
        }

        let file: String
        let record: Int?
        let classes: [Class]
    }

    private func entries(_ job: ProgramResult) throws -> [Entry] {
        try JSONDecoder().decode([Entry].self, from: Data(job.output.utf8))
    }

    private func pictures(_ names: String...) -> [String] { names.map { "\(fixtures)/\($0)" } }

    @Test func `the weights that come with the source name classes of CIFAR-10`() throws {
        let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()
        let weights = "\(root)/Examples/cifar10-fast-4.safetensors"
        let job = try densenet(["predict", "--weights", weights] + pictures("rgb.png") + ["--top", "10", "--json"])
        let classes = try #require(try entries(job).first).classes
        #expect(
            Set(classes.map(\.name)) == [
                "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
            ])
        #expect(abs(classes.reduce(0) { $0 + $1.probability } - 1) < 1e-5)
        let described = try WeightsFile.network(from: weights, capacity: 1)
        #expect(described.configuration.blocks == [6, 6, 6] && described.configuration.growthRate == 16)
    }

    /// Fresh weights of a small network, with what metadata is given.
    private func freshWeights(_ metadata: [String: String]) throws -> String {
        try WeightsFile.write(try freshSmallNetwork(), to: scratch("fresh"), metadata: metadata)
        return scratch("fresh")
    }

    @Test func `records are recognized as evaluate recognizes them, on any number of ranks`() throws {
        let images = scratch("images")
        let made = try densenet(["synthesize", images, "--train", "64", "--test", "40"])
        try #require(made.status == 0, "\(made.errors)")
        let run = try train(
            smallNetwork.dropLast(2) + ["--data", images, "--batch-size", "16", "--epochs", "2"], out: scratch("run"))
        let evaluated = try densenet(["evaluate", "--weights", run.path, "--data", images])
        try #require(evaluated.status == 0, "\(evaluated.errors)")
        let arguments = [
            "predict", "--weights", run.path, images + "/test_batch.bin", "--format", "json", "--top", "10",
        ]
        let job = try densenet(arguments)
        try #require(job.status == 0, "\(job.errors)")
        let answers = try entries(job)
        try #require(answers.map(\.record) == (0..<40).map { $0 })
        let records = try scratch.read("images/test_batch.bin")
        let hits = answers.enumerated().count { $1.classes[0].label == Int(records[$0 * 3073]) }
        let accuracy = String(Double(hits) / 40).prefix(6)
        #expect(evaluated.output.contains("Test accuracy: \(accuracy)"), "\(hits) of 40; \(evaluated.output)")
        for answer in answers {
            #expect(abs(answer.classes.map(\.probability).reduce(0, +) - 1) < 1e-5)
            #expect(Set(answer.classes.map(\.label)).count == 10)
        }
        #expect(answers[0].classes.contains { $0.name == "class \($0.label)" } == false)
        let json = try densenet(arguments.filter { !["--format", "json"].contains($0) } + ["--json"])
        #expect(json.status == 0 && json.output == job.output, "\(json.errors)")
        let onTwo = try densenet(arguments + ["--batch-size", "6"], ranks: 2)
        try #require(onTwo.status == 0, "\(onTwo.errors)")
        let others = try entries(onTwo)
        #expect(others.map(\.record) == answers.map(\.record))
        // A product of fewer images may be rounded in another way, as the BLAS has it for the CPU.
        for (other, answer) in zip(others, answers) {
            let expected = Dictionary(uniqueKeysWithValues: answer.classes.map { ($0.label, $0.probability) })
            #expect(other.classes.allSatisfy { abs($0.probability - (expected[$0.label] ?? 2)) < 1e-5 })
        }
    }

    @Test(arguments: [1, 2])
    func `a broken picture is a line and the others go on`(ranks: Int) throws {
        let weights = try freshWeights(Normalization.none.metadata.merging(ClassNames(["a", "b,c"]).metadata) { $1 })
        let good = pictures("rgb.png", "420.jpeg", "grey-alpha.png")
        let cut = try scratch.write(
            Array(try Data(contentsOf: URL(filePath: good[0]))).dropLast(100), to: "cut.png")
        let records = try scratch.write([UInt8](repeating: 1, count: 3000), to: "records.BIN")
        let files = [good[0], cut, good[1], scratch("missing.jpeg"), records, good[2]] + pictures("cmyk.jpeg")
        let job = try densenet(
            ["predict", "--weights", weights, "--format", "csv", "--top", "2", "--batch-size", "4"] + files,
            ranks: ranks)
        #expect(job.status == Failure.Kind.data.rawValue)
        let lines = job.output.lines
        #expect(lines.first == "file,record,place,label,class,probability")
        #expect(lines.dropFirst().map { $0.split(separator: ",")[0] } == good.flatMap { [$0[...], $0[...]] })
        let errors = job.errors.lines.filter { $0.hasPrefix("densenet: ") }
        try #require(errors.count == 5, "\(job.errors)")
        for (error, file) in zip(errors, [cut, scratch("missing.jpeg"), records, files[6]]) {
            #expect(error.contains(file))
        }
        #expect(errors[4] == "densenet: 4 of 7 pictures could not be used; the lines above say why")
    }

    @Test func `text, JSON and CSV say the same`() throws {
        let weights = try freshWeights(
            Normalization.none.metadata.merging(ClassNames(["a", "b,\"c\""]).metadata) { $1 })
        func output(_ format: String) throws -> ProgramResult {
            let job = try densenet(
                ["predict", "--weights", weights, "--format", format, "--top", "10", "--logits"] + pictures("rgb.png"))
            try #require(job.status == 0, "\(job.errors)")
            return job
        }
        let entry = try #require(try entries(output("json")).first)
        #expect(entry.record == nil && entry.classes.count == 10)
        #expect(Set(entry.classes.map(\.name)) == Set(["a", "b,\"c\""] + (2..<10).map { "class \($0)" }))
        let csv = try output("csv").output.lines
        let text = try output("text").output.lines
        #expect(csv[0] == "file,record,place,label,class,probability,logit" && text[0] == entry.file)
        for (place, one) in entry.classes.enumerated() {
            let name = one.label == 1 ? "\"b,\"\"c\"\"\"" : one.name
            let logit = try #require(one.logit)
            #expect(csv[place + 1] == "\(entry.file),,\(place + 1),\(one.label),\(name),\(one.probability),\(logit)")
            #expect(text[place + 1].contains(" %  \(one.name) (logit "))
        }
        // The softmax of the logits.
        let (first, last) = (entry.classes[0], entry.classes[9])
        let ratio = Double(first.probability) / Double(last.probability)
        #expect(abs(log(ratio) - Double(try #require(first.logit) - #require(last.logit))) < 1e-4)
    }

    @Test func `a checkpoint and a folder of a run that is not done serve as well`() throws {
        let run = try train(smallRun + ["--epochs", "1"], out: scratch("run"))
        func output(_ weights: String) throws -> String {
            let job = try densenet(["predict", "--weights", weights] + pictures("rgb.png", "444.jpeg"))
            #expect(job.status == 0, "\(job.errors)")
            return job.output
        }
        let expected = try output(run.path + "/weights.safetensors")
        #expect(expected.contains(SyntheticImages.classNames[0]) || !expected.contains("class "))
        #expect(try output(run.path) == expected)
        #expect(try output(run.path + "/checkpoints/checkpoint-00001-00000004.safetensors") == expected)
        #expect(try output(run.path + "/best.safetensors") == expected)
        try FileManager.default.removeItem(atPath: run.path + "/weights.safetensors")
        #expect(try output(run.path) == expected)
        let evaluated = try densenet(["evaluate", "--weights", run.path, "--limit-test", "32"])
        #expect(evaluated.status == 0, "\(evaluated.errors)")
        try FileManager.default.removeItem(atPath: run.path + "/checkpoints")
        let job = try densenet(["predict", "--weights", run.path] + pictures("rgb.png"))
        #expect(job.status == Failure.Kind.noInput.rawValue)
        #expect(
            job.errors == "densenet: \(run.path): neither weights.safetensors nor a checkpoint in it; name a weights "
                + "file or a run folder\n")
    }

    @Test func `weights without a normalization want one`() throws {
        let arguments = ["predict", "--weights", try freshWeights([:])] + pictures("rgb.png")
        let without = try densenet(arguments)
        #expect(without.status == Failure.Kind.usage.rawValue && without.errors.contains("give --mean and --std"))
        let with = try densenet(arguments + ["--mean", "0,0,0", "--std", "1,1,1"])
        #expect(with.status == 0 && with.output.contains("class "), "\(with.errors)")
        let carried = try densenet(
            ["predict", "--weights", try freshWeights(Normalization.none.metadata)] + pictures("rgb.png"))
        #expect(carried.output == with.output)
    }

    @Test(arguments: [
        (["--top", "0"], "--top is 0, expected 1 or more"),
        (["--batch-size", "0"], "--batch-size is 0, expected 1 to 1,000,000"),
        (["--format", "xml"], "--format"),
        (["--json", "--format", "csv"], "--json and --format csv contradict each other; leave one out"),
        (["--mean", "0,0,0"], "--mean and --std go together; give both"),
    ])
    func `an impossible option is one line`(options: [String], problem: String) throws {
        let weights = try freshWeights(Normalization.none.metadata)
        let job = try densenet(["predict", "--weights", weights] + pictures("rgb.png") + options)
        #expect(job.status == Failure.Kind.usage.rawValue)
        #expect(job.errors.lines.count == 1 && job.errors.contains(problem), "\(job.errors)")
    }

    @Test(arguments: [
        ("{}", "is not a JSON array of names; fix or remove it"),
        (
            "[\(Array(repeating: "\"x\"", count: 11).joined(separator: ","))]",
            "has 11 names, expected up to 10, the network's classes; fix or remove it"
        ),
    ])
    func `class names that cannot be are refused`(text: String, problem: String) throws {
        let weights = try freshWeights(Normalization.none.metadata.merging(["classes": text]) { $1 })
        let job = try densenet(["predict", "--weights", weights] + pictures("rgb.png"))
        #expect(job.status == Failure.Kind.data.rawValue)
        #expect(job.errors == "densenet: \(weights): the metadata key 'classes' \(problem)\n")
    }
}
