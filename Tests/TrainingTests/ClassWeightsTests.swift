import FoundationEssentials
import Glibc
import ImageData
import Support
import TestSupport
import Testing

@testable import Training

/// `--class-weights`: that the loss itself is PyTorch's, the tests of the network say.
@Suite struct ClassWeightsTests {
    let scratch = ScratchFolder()
    private static let names = ImageSet.synthetic(count: 1, seed: 1, split: .train, imageSize: 8).classNames ?? []
    private static let values = [0.5, 1, 2, 0.25, 3, 1.5, 0, 4, 0.75, 1]

    /// A file that has them by name, in another order.
    private func file(_ values: [Double] = values, name: String = "weights.csv") throws -> String {
        let lines = zip(Self.names, values).map { "\($0),\($1)\n" }.reversed()
        return try scratch.write(Array(lines.joined().utf8), to: name)
    }

    private func run(_ name: String, _ weights: String?, ranks: Int = 1, _ options: [String] = []) throws -> FinishedRun
    {
        let weights = weights.map { ["--class-weights", $0] } ?? []
        return try train(smallRun + ["--epochs", "2"] + weights + options, out: scratch(name), ranks: ranks)
    }

    @Test(arguments: [[], ["--statistics-group", "4", "--label-smoothing", "0.1"]])
    func `one, two and three ranks learn the same`(_ options: [String]) throws {
        let path = try file()
        let runs = try (1...3).map { try run("\($0)", path, ranks: $0, options) }
        #expect(runs[1].lossDifference(to: runs[0]) < 1e-6 && runs[2].lossDifference(to: runs[0]) < 1e-6)
        #expect(try run("without", nil, options).lossDifference(to: runs[0]) > 1e-3)
    }

    @Test func `weights of one are none, and only their proportions matter`() throws {
        let ones = try run("ones", file([Double](repeating: 1, count: 10)))
        #expect(try ones.tensors == run("without", nil).tensors)
        let one = try run("one", file(), ["--label-smoothing", "0.1"])
        let four = try run("four", file(Self.values.map { 4 * $0 }), ["--label-smoothing", "0.1"])
        #expect(four.tensors == one.tensors && four.results == one.results)
        #expect(one.tensors != ones.tensors)
    }

    /// Before the first step has moved anything.
    @Test func `the training loss is the mean by weights, and the test loss has none`() throws {
        let images = ImageSet.synthetic(count: 64, seed: 1, split: .train, imageSize: 8)
        let labels = try (0..<64).map { try images.image($0).label }
        let options = ["--batch-size", "64", "--augment", "none", "--steps", "1", "--learning-rate", "1e-9"]
        let whole = try run("whole", nil, options).epochs[0]
        var sum = 0.0
        for (name, isIn) in [("low", { $0 < 3 }), ("high", { $0 >= 3 })] as [(String, (Int) -> Bool)] {
            let weights = (0..<10).map { isIn($0) ? 0.5 : 0 }
            let part = try run(name, file(weights), ranks: 2, options).epochs[0]
            sum += part.trainLoss * Double(labels.count(where: isIn))
            #expect(abs(part.trainLoss - whole.trainLoss) > 1e-4 && abs(part.testLoss - whole.testLoss) < 1e-4)
        }
        #expect(abs(sum / 64 - whole.trainLoss) < 1e-6)
    }

    @Test func `steps none of whose images counts move nothing by their gradient`() throws {
        let only = (0..<10).map { $0 == 9 ? 1.0 : 0 }
        let options = ["--batch-size", "2", "--step-metrics", "1", "--weight-decay", "0", "--limit-train", "20"]
        let finished = try run("run", file(only), ranks: 2, options)
        let records = try readStepRecords(finished.path)
        #expect(records.count == 20 && records.contains { $0.loss.isNaN } && records.contains { !$0.loss.isNaN })
        #expect(finished.epochs.allSatisfy { $0.trainLoss.isFinite && $0.testLoss.isFinite })
    }

    @Test func `balanced weights are scikit-learn's, and a run that is resumed keeps those that it began with`() throws
    {
        let unbalanced = ClassWeights.balanced([20, 10, 0, 50])
        #expect(unbalanced == [80.0 / 60, 80.0 / 30, 0, 80.0 / 150] as [Double])
        let images = ImageSet.synthetic(count: 64, seed: 1, split: .train, imageSize: 8)
        var counts = [Double](repeating: 0, count: 10)
        for index in 0..<64 { counts[try images.image(index).label] += 1 }
        let path = try file(ClassWeights.balanced(counts))
        let balanced = try run("balanced", "balanced", ranks: 2)
        let whole = try run("whole", path, ranks: 2)
        #expect(balanced.tensors == whole.tensors)
        try train(
            smallRun + ["--epochs", "1", "--schedule", "constant", "--class-weights", path], out: scratch("parts"),
            ranks: 2)
        let constant = try run("constant", path, ranks: 2, ["--schedule", "constant"])
        // The file may have gone; opening a pipe would wait.
        unlink(path)
        mkfifo(path, 0o600)
        for options in [["--class-weights", path], []] {
            let job = try densenet(["train", "--resume", scratch("parts"), "--epochs", "2"] + options, ranks: 2)
            #expect(job.status == 0, "\(job.errors)")
        }
        let parts = try FinishedRun(path: scratch("parts"))
        #expect(parts.weights == constant.weights && parts.results == constant.results)
        let other = try densenet(["train", "--resume", scratch("parts"), "--class-weights", "balanced"])
        #expect(
            other.status == 64
                && other.errors.hasPrefix(
                    "densenet: --class-weights is balanced, but the run in \(scratch("parts")) has \(path), "),
            "\(other.errors)")
        let text = String(decoding: try scratch.read("parts/config.json"), as: UTF8.self)
        #expect(text.contains(#""version" : 3"#), "\(text)")
        _ = try scratch.write(Array(text.replacing("\"values\"", with: "\"value\"").utf8), to: "parts/config.json")
        let damaged = try densenet(["train", "--resume", scratch("parts")])
        #expect(damaged.status == 65, "\(damaged.errors)")
        #expect(damaged.errors.contains("parts/config.json: key classWeights.values is missing"), "\(damaged.errors)")
    }

    @Test(arguments: [
        "0,1\n1,2\n2,3\n", "class,weight\r\nb,2\r\na,1\r\nc,3\r\n", "class\tweight\na\t1\n1\t2\n\n\"c\"\t3",
        "\u{FEFF}a , 1\n\"b\", 2.0\n 2,3e0 \n",
    ])
    func `classes stand by name or number, with commas or tabs, with or without a heading`(_ text: String) throws {
        let path = try scratch.write(Array(text.utf8), to: "weights")
        #expect(try ClassWeights.read(path, names: ClassNames(["a", "b", "c"]), classes: 3) == [1, 2, 3])
    }

    @Test func `a name goes before a number, and may have commas and quotes`() throws {
        let path = try scratch.write(Array("1,5\n\"x, \"\"y\"\"\",6\n2,7\n".utf8), to: "weights")
        #expect(try ClassWeights.read(path, names: ClassNames(["1", "x, \"y\""]), classes: 3) == [5, 6, 7])
    }

    @Test(arguments: [
        ("a,1\nb 2\nc,3\n", "line 2 is 'b 2', expected a class and its weight, such as a,1.5"),
        ("a,1\nd,2\nc,3\n", "line 2 has the class 'd', expected one of the 3 by name or by number from 0"),
        ("a,1\n3,2\n", "line 2 has the class '3', expected one of the 3"),
        ("class,weight\n-1,2\n", "line 2 has the class '-1', expected one of the 3"),
        ("a,1\nb,x\n", "line 2 has the weight 'x' of class 'b', expected a number: 0, or 1e-12 to 1000000000000.0"),
        ("a,-1\n", "line 1 has the weight '-1' of class 'a'"), ("a,nan\n", "line 1 has the weight 'nan' of class 'a'"),
        ("a,1\nb,inf\n", "line 2 has the weight 'inf' of class 'b'"), ("a,\n", "line 1 has the weight '' of class 'a'"),
        ("a,1\nb,1\n0,2\n", "line 3 has another weight of class '0', which has one in line 1"),
        ("a,1\nc,2\n", "has no weight of class 1 (b); all 3 need one"), ("", "has no weight of class 0 (a)"),
        ("a,0\nb,0\nc,0\n", "all weights are 0, expected one or more above"),
    ])
    func `what is wrong in a file is named, with its line`(_ text: String, _ words: String) throws {
        let path = try scratch.write(Array(text.utf8), to: "weights")
        let failure = #expect(throws: Failure.self) {
            try ClassWeights.read(path, names: ClassNames(["a", "b", "c"]), classes: 3)
        }
        #expect(failure?.kind == .data && failure?.message.hasPrefix("\(path): \(words)") == true, "\(failure as Any)")
    }

    @Test func `a file that is wrong or missing ends all ranks with one line`() throws {
        for (path, status, words) in [
            (scratch("none"), Failure.Kind.noInput.rawValue, "cannot read \(scratch("none"))"),
            (try scratch.write(Array("cat,1\n0,\n".utf8), to: "weights"), Failure.Kind.data.rawValue, "weights: line "),
        ] {
            let job = try densenet(
                ["train", "--out", scratch("run"), "--class-weights", path] + smallRun, ranks: 2)
            let lines = job.errors.lines.filter { $0.hasPrefix("densenet: ") }
            #expect(job.status == status && lines.count == 1 && lines[0].contains(words), "\(job.errors)")
        }
        #expect(scratch.names == ["weights"])
    }
}
