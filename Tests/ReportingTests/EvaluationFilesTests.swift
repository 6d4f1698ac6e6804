import FoundationEssentials
import ImageData
import Support
import TestSupport
import Testing

@testable import Reporting
@testable import Training

@Suite struct EvaluationFilesTests {
    let scratch = ScratchFolder()

    /// Weights of a network for 32 × 32 images, and images: 40 of the test split.
    private func trained() throws -> (weights: String, images: String) {
        let (images, run) = (scratch("images"), scratch("run"))
        try densenet(["synthesize", images, "--train", "64", "--test", "40"])
        let options = Array(tinyRun.prefix(6)) + ["--epochs", "1", "--batch-size", "16"]
        try densenet(["train", "--data", images, "--out", run] + options)
        return (run, images)
    }

    private func rows(_ name: String) throws -> [[String]] {
        try text(scratch(name)).split(separator: "\n").map { $0.split(separator: ",").map(String.init) }
    }

    @Test func `an evaluation is what predict says of each image, whatever the ranks`() throws {
        let (weights, images) = try trained()
        let evaluate = ["evaluate", "--weights", weights, "--data", images]
        for ranks in 1...3 { try densenet(evaluate + ["--report", scratch("\(ranks)")], ranks: ranks) }
        for name in ["confusion.csv", "mistakes.csv", "mistakes.png"] {
            let files = try (1...3).map { try scratch.read("\($0)/\(name)") }
            #expect(files[0] == files[1] && files[0] == files[2], "\(name)")
        }
        let names = try densenet([
            "predict", "--weights", weights, "--top", "1", "--format", "csv", images + "/test_batch.bin",
        ])
        let guesses = names.output.split(separator: "\n").dropFirst().map { $0.split(separator: ",") }
        let labels = try scratch.read("images/test_batch.bin").enumerated().filter { $0.offset % 3073 == 0 }.map(
            \.element)
        try #require(guesses.count == 40 && labels.count == 40)
        var confusion = [[Int]](repeating: [Int](repeating: 0, count: 10), count: 10)
        var mistakes: [(index: Int, probability: Float)] = []
        for (index, guess) in guesses.enumerated() {
            let label = Int(guess[3])!
            confusion[Int(labels[index])][label] += 1
            if label != labels[index] { mistakes.append((index, Float(guess[5])!)) }
        }
        let table = try rows("1/confusion.csv")
        #expect(table.dropFirst().map { $0.dropFirst().map { Int($0)! } } == confusion)
        #expect(table[0].dropFirst() == table.dropFirst().map { $0[0] }[...] && table[0][0] == "truth")
        let listed = try rows("1/mistakes.csv").dropFirst()
        #expect(Set(listed.map { Int($0[0])! }) == Set(mistakes.map(\.index)) && !mistakes.isEmpty)
        let probabilities = listed.map { Double($0[3])! }
        #expect(probabilities == probabilities.sorted(by: >))
        for row in listed {
            let predicted = try #require(mistakes.first { $0.index == Int(row[0])! }).probability
            #expect(abs(Float(row[3])! - predicted) <= 0.000051, "\(row)")
        }
    }

    @Test func `an evaluation over ranks counts each image once`() throws {
        let (weights, images) = try trained()
        for (ranks, batch) in [(2, 16), (3, 7), (3, 64)] {
            let job = try densenet(
                ["evaluate", "--weights", weights, "--data", images, "--limit-test", "37", "--batch-size", "\(batch)"]
                    + ["--report", scratch("out")], ranks: ranks)
            let counts = try rows("out/confusion.csv").dropFirst().flatMap { $0.dropFirst().map { Int($0)! } }
            #expect(counts.reduce(0, +) == 37 && job.output.contains(": 37 images"))
            let right = (0..<10).map { counts[$0 * 10 + $0] }.reduce(0, +)
            #expect(try rows("out/mistakes.csv").count - 1 == 37 - right)
        }
    }

    @Test func `several weights give a table, and files of their own`() throws {
        let (weights, images) = try trained()
        let evaluate = ["evaluate", "--data", images, "--weights", weights, weights + "/best.safetensors"]
        let job = try densenet(evaluate + ["--report", scratch("out")], ranks: 2)
        let lines = job.output.split(separator: "\n")
        let titles = "Test loss  Test accuracy  Macro recall   AUROC  parameters  weights"
        #expect(lines.count == 3 && lines[0] == titles)
        #expect(lines[1].hasSuffix("/run/weights.safetensors") && lines[2].hasSuffix("/run/best.safetensors"))
        #expect(try scratch.read("out/1/confusion.csv") == scratch.read("out/2/confusion.csv"))
        let json = try densenet(evaluate.dropLast() + ["--weights", weights + "/best.safetensors", "--json"])
        struct Entry: Decodable {
            let accuracy: Double
            let parameters: Int
            let weights: String
        }
        let entries = try JSONDecoder().decode([Entry].self, from: Data(json.output.utf8))
        #expect(entries.count == 2 && entries[0].accuracy == entries[1].accuracy && entries[0].parameters > 1000)
    }

    @Test func `names with commas and quotes come back from the files`() throws {
        let names = ClassNames(["a,b", "say \"c\"", "line\r\nfeed", "plain"])
        let images = ImageSet.synthetic(count: 3, seed: 1, split: .test, imageSize: 8)
        let truth = try images.image(2).label
        let mistake = Evaluation.Mistake(index: 2, truth: truth, guess: 1, probability: 0.5)
        var confusion = [Int](repeating: 0, count: 100)
        confusion[truth * 10 + 1] = 1
        let evaluation = Evaluation(
            loss: 1, matrix: confusion, total: (0..<10).map { $0 == truth ? 1 : 0 }, mistakes: [mistake])
        try EvaluationFiles.write(evaluation, of: images, names: names, to: scratch("out"))
        let head = try text(scratch("out/confusion.csv"))
        #expect(head.hasPrefix("truth,\"a,b\",\"say \"\"c\"\"\",\"line\r\nfeed\",plain,class 4,"))
        // A sheet of an older evaluation does not stay beside files without a mistake.
        let flawless = Evaluation(loss: 0, matrix: confusion, total: evaluation.total, mistakes: [])
        try EvaluationFiles.write(flawless, of: images, names: names, to: scratch("out"))
        #expect(try text(scratch("out/mistakes.csv")) == "index,truth,guess,probability\n")
        #expect(!FileManager.default.fileExists(atPath: scratch("out/mistakes.png")))
    }

    @Test func `weights say how they were trained, also those of a run that ended just before them`() throws {
        try densenet(["train", "--out", scratch("whole")] + tinyRun)
        for name in ["weights", "best"] {
            let file = try text(scratch("whole/\(name).safetensors"))
            #expect(file.contains(#"\"train_images\":64"#) && file.contains(#"\"data\":\"synthetic\",\"epochs\""#))
        }
        let last = try #require(try MetricsLog(path: scratch("whole/metrics.jsonl")).epochs().last)
        let weights = try text(scratch("whole/weights.safetensors"))
        #expect(weights.contains(#"\"epochs\":2,"#) && weights.contains(#"\"test_accuracy\":\#(last.testAccuracy),"#))
        // A run that is begun again behind its last epoch knows its result from the log.
        try FileManager.default.removeItem(atPath: scratch("whole/weights.safetensors"))
        try densenet(["train", "--resume", scratch("whole")])
        #expect(try text(scratch("whole/weights.safetensors")) == weights)
    }
}
