import FoundationEssentials
import Glibc
import ImageData
import Support
import TestSupport
import Testing

@testable import Training

/// Recall, precision, top-5 accuracy and AUROC.
@Suite struct ClassMeasuresTests {
    let scratch = ScratchFolder()

    @Test func `means are over the classes that have images, and a class that is never guessed has no precision`() {
        // Four classes, the third without images; one image of the second has no guess.
        let cells = [(0, 0, 6), (0, 1, 2), (1, 2, 3), (3, 0, 2), (3, 3, 2)].map {
            Evaluation.Cell(truth: $0.0, guess: $0.1, images: $0.2)
        }
        let evaluation = Evaluation(
            loss: 1, confusion: cells, total: [8, 4, 0, 4], mistakes: [], topFive: nil, auroc: [0.5, 1, nil, 0.75])
        #expect(evaluation.recall == [0.75, 0, nil, 0.5] && evaluation.precision == [0.75, 0, nil, 1])
        #expect(
            evaluation.measures
                == ClassMeasures(macroRecall: 1.25 / 3, macroPrecision: 1.75 / 3, topFive: nil, auroc: 0.75))
        #expect(evaluation.accuracy == 0.5)
        let empty = Evaluation(loss: 1, confusion: [], total: [0, 0], mistakes: [])
        #expect(empty.measures == ClassMeasures())
    }

    /// Scores of few values, so that there are ties.
    @Test(arguments: [2, 7, 100])
    func `the area is the share of pairs in order, a tie counting half`(_ values: Int) {
        var random = CounterRandom(.synthetic, 66, UInt64(values))
        for _ in 0..<20 {
            let scores = (0..<40).map { _ in Float(random.below(values)) / Float(values) }
            let isOfClass = (0..<40).map { _ in random.below(4) == 0 }
            var (sum, pairs) = (0.0, 0.0)
            for (one, isIn) in zip(scores, isOfClass) where isIn {
                for (other, isIn) in zip(scores, isOfClass) where !isIn {
                    sum += one > other ? 1 : one == other ? 0.5 : 0
                    pairs += 1
                }
            }
            #expect(ClassScores.area(scores, isOfClass: isOfClass) == (pairs > 0 ? sum / pairs : nil))
        }
        #expect(ClassScores.area([0.5, 0.25], isOfClass: [true, true]) == nil)
        #expect(ClassScores.area([], isOfClass: []) == nil)
        #expect(ClassScores.area([0.5, .nan], isOfClass: [true, false]) == nil)
    }

    @Test func `the outputs of more images and classes than fit are refused`() {
        #expect(ClassScores.refusal(images: 10_000, classes: 1_000) == nil)
        #expect(ClassScores.refusal(images: 1 << 22, classes: 4) == nil)
        let words = ClassScores.refusal(images: 50_000, classes: 1_000)
        #expect(words == "50000 test images of 1000 classes have more than 16777216 outputs")
    }

    private struct Evaluated: Decodable {
        struct Class: Decodable {
            let correct, images: Int
            let recall, precision: Double
            let auroc: Double?
        }
        let accuracy, macroRecall, macroPrecision, top5, auroc: Double
        let classes: [Class]
    }

    private func evaluate(_ options: [String], ranks: Int = 1) throws -> Evaluated {
        let job = try densenet(["evaluate", "--json", "--batch-size", "16"] + options, ranks: ranks)
        try #require(job.status == 0, "\(job.errors)")
        return try JSONDecoder().decode(Evaluated.self, from: Data(job.output.utf8))
    }

    @Test func `any number of ranks finds the same, which is what predict's probabilities give`() throws {
        let images = scratch("images")
        try SyntheticImages.write(to: images, train: 64, test: 61, seed: 1)
        let run = try train(
            smallNetwork.dropLast(2) + ["--data", images, "--batch-size", "8", "--epochs", "2"], out: scratch("run"))
        let options = ["--weights", run.path, "--data", images]
        let one = try evaluate(options)
        for ranks in 2...3 {
            let other = try evaluate(options, ranks: ranks)
            #expect(other.accuracy == one.accuracy && other.top5 == one.top5)
            #expect(other.macroRecall == one.macroRecall && other.macroPrecision == one.macroPrecision)
            #expect(abs(other.auroc - one.auroc) < 1e-4 && other.classes.count == one.classes.count)
        }
        let measures = run.epochs[1].measures
        #expect(measures.topFive == one.top5 && measures.macroRecall == one.macroRecall)
        #expect(measures.macroPrecision == one.macroPrecision && abs((measures.auroc ?? 0) - one.auroc) < 1e-4)
        let recall = one.classes.map { Double($0.correct) / Double($0.images) }
        #expect(one.classes.map(\.recall) == recall && one.top5 > one.accuracy)
        #expect(abs(one.macroRecall - recall.reduce(0, +) / Double(recall.count)) < 1e-12)
        try expectAsPredicted(one, run.path, images + "/test_batch.bin")
    }

    private struct Predicted: Decodable {
        struct Class: Decodable {
            let label: Int
            let probability: Float
        }
        let classes: [Class]
    }

    private func expectAsPredicted(_ evaluated: Evaluated, _ weights: String, _ file: String) throws {
        let job = try densenet(["predict", "--weights", weights, file, "--json", "--top", "10"])
        let predictions = try JSONDecoder().decode([Predicted].self, from: Data(job.output.utf8))
        let records = try Data(contentsOf: URL(filePath: file))
        let labels = stride(from: 0, to: records.count, by: 3073).map { Int(records[$0]) }
        try #require(predictions.count == 61 && labels.count == 61, "\(job.output)")
        let hits = zip(predictions, labels).count { $0.classes.prefix(5).map(\.label).contains($1) }
        #expect(evaluated.top5 == Double(hits) / 61)
        let areas = try Set(labels).sorted().map { label in
            let scores = predictions.map { $0.classes.first { $0.label == label }?.probability ?? .nan }
            return try #require(ClassScores.area(scores, isOfClass: labels.map { $0 == label }))
        }
        // A product of fewer images may be rounded in another way, and so put a pair in another order.
        for (found, area) in zip(evaluated.classes, areas) { #expect(abs((found.auroc ?? -1) - area) < 0.01) }
        #expect(abs(evaluated.auroc - areas.reduce(0, +) / Double(areas.count)) < 0.002)
        #expect(Set(areas).count > 1)
    }

    @Test func `where there are too many outputs the AUROC is left out, with a line, or refused as what decides`()
        throws
    {
        let words = "30 test images of 600000 classes have more than 16777216 outputs"
        let options =
            ["train", "--epochs", "1", "--classes", "600000", "--limit-train", "2", "--limit-test", "30"]
            + ["--batch-size", "2", "--out", scratch("run")] + smallNetwork
        let refused = try densenet(options + ["--best-by", "auroc"], ranks: 2)
        let lines = refused.errors.lines.filter { $0.hasPrefix("densenet: ") }
        #expect(refused.status == 64 && lines.count == 1, "\(refused.errors)")
        #expect(lines.first?.hasPrefix("densenet: --best-by is auroc, but the \(words), ") == true, "\(lines)")
        #expect(scratch.names.isEmpty)
        try withJobSlot {
            let job = try RunningProgram(builtExecutable(named: "densenet"), options)
            try job.wait(for: "the line") { job.errors.contains("densenet: \(words): the AUROC is left out\n") }
            // Its evaluation would take long.
            for process in processes(naming: scratch("run"), program: "densenet") { kill(process, SIGTERM) }
            #expect(try job.wait(timeout: 60).status == 75)
        }
    }

    @Test func `lines have the measures, and events the same as the log`() throws {
        try train(smallRun + ["--epochs", "1"], out: scratch("run"))
        let weights = scratch("run/weights.safetensors")
        let job = try densenet(["evaluate", "--limit-test", "32", "--weights", weights])
        let measures = try #require(try readMetrics(scratch("run")).last).measures
        func text(_ value: Double?) -> String { value?.formatted(places: 4) ?? "" }
        #expect(
            job.output.lines.contains(
                "Macro recall: \(text(measures.macroRecall)), Macro precision: \(text(measures.macroPrecision)), "
                    + "Top-5 accuracy: \(text(measures.topFive)), AUROC: \(text(measures.auroc))"), "\(job.output)")
        #expect(job.output.contains("\nrecall    precision   AUROC  class\n"), "\(job.output)")
        let card = String(decoding: try scratch.read("run/README.md"), as: UTF8.self)
        #expect(card.contains("macro recall (balanced accuracy) ") && card.contains("AUROC \(text(measures.auroc))"))
        let page = String(decoding: try scratch.read("run/report.html"), as: UTF8.self)
        #expect(page.contains("balanced accuracy") && page.contains("<th class=\"number\">AUROC</th>"))
    }
}
