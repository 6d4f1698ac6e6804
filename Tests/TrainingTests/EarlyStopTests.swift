import FoundationEssentials
import Safetensors
import TestSupport
import Testing

@testable import Training

/// `--early-stop` and `--best-by`.
@Suite struct EarlyStopTests {
    let scratch = ScratchFolder()
    /// A rate that is harmful towards the end, so that the best epoch is not the last.
    private static let options = smallRun + ["--learning-rate", "3", "--schedule", "constant"]

    /// The epoch after which a run with these results ends.
    private func end(of values: [Double], patience: Int) -> Int {
        var best = 0
        for epoch in 1...values.count {
            if best == 0 || values[epoch - 1] > values[best - 1] { best = epoch }
            if epoch - best >= patience { return epoch }
        }
        return values.count
    }

    @Test func `a run ends when no epoch was better for so many, and is finished then`() throws {
        let whole = try train(Self.options + ["--epochs", "12"], out: scratch("whole"), ranks: 2)
        let last = end(of: whole.epochs.map(\.testAccuracy), patience: 2)
        try #require(last < 12, "the run does not serve: \(whole.epochs.map(\.testAccuracy))")
        let arguments = ["train", "--out", scratch("run")] + Self.options + ["--epochs", "12", "--early-stop", "2"]
        let job = try densenet(arguments, ranks: 2)
        #expect(job.status == 0, "\(job.errors)")
        let words = "ended early: no better test accuracy since epoch \(last - 2), for 2 epochs"
        #expect(job.output.lines.count { $0 == words } == 1, "\(job.output)")
        let run = try FinishedRun(path: scratch("run"))
        #expect(run.results == Array(whole.results.prefix(last)))
        let page = String(decoding: try scratch.read("run/report.html"), as: UTF8.self)
        #expect(page.contains("finished after \(last) of 12 epochs"))

        let again = try densenet(["train", "--resume", run.path, "--epochs", "20"], ranks: 2)
        #expect(again.status == 0 && again.output.contains(words), "\(again)")
        #expect(try FinishedRun(path: run.path).results == run.results)
        #expect(try FinishedRun(path: run.path).tensors == run.tensors)
        let auto = try densenet(["train", "--resume", "auto", "--out", run.path])
        #expect(auto.status == 0 && auto.output.contains("the run in \(run.path) is finished"), "\(auto)")
    }

    @Test(arguments: [["--best-by", "accuracy"], ["--best-by", "loss", "--ema", "0.5", "--tta", "flip"]])
    func `a run that is resumed ends at the same epoch with the same bytes`(_ measure: [String]) throws {
        let options = Self.options + ["--epochs", "20", "--early-stop", "3"] + measure
        let whole = try train(options, out: scratch("whole"))
        let last = whole.epochs.count
        try #require((4..<20).contains(last), "the run does not serve: \(whole.results)")
        #expect(whole.epochs.map { $0.flipped != nil } == (1...last).map { $0 == last && measure.contains("--tta") })
        for done in [last - 3, last - 1] {
            let path = scratch("\(done)")
            try train(options + ["--steps", "\(4 * done)"], out: path)
            // The configuration of the whole run, and no results of the part.
            for name in ["config.json", "weights.safetensors"] {
                try FileManager.default.removeItem(atPath: "\(path)/\(name)")
            }
            try FileManager.default.copyItem(atPath: whole.path + "/config.json", toPath: path + "/config.json")
            let run = try resume(path)
            #expect(run.weights == whole.weights && run.averages == whole.averages)
            #expect(run.results.last == whole.results.last && run.epochs.count == last)
            #expect(try scratch.read("\(done)/best.safetensors") == scratch.read("whole/best.safetensors"))
        }
    }

    @Test(arguments: [BestMeasure.loss, .macroRecall, .auroc], [false, true])
    func `the measure decides which epoch is the best, of the average where there is one`(
        _ measure: BestMeasure, _ hasAverage: Bool
    ) throws {
        let average = hasAverage ? ["--ema", "0.5"] : []
        let job = try densenet(
            ["train", "--out", scratch("run"), "--epochs", "6", "--best-by", measure.rawValue] + Self.options + average)
        try #require(job.status == 0, "\(job.errors)")
        let run = try FinishedRun(path: scratch("run"))
        let results = run.epochs.map { hasAverage ? $0.average ?? TestResult(.nan, .nan) : $0.test }
        let (key, values): (String, [Double]) =
            switch measure {
            case .accuracy: ("test_accuracy", results.map(\.accuracy))
            case .loss: ("test_loss", results.map { -$0.loss })
            case .macroRecall: ("macro_recall", results.compactMap(\.measures.macroRecall))
            case .auroc: ("auroc", results.compactMap(\.measures.auroc))
            }
        let best = try #require(values.max())
        let epoch = try #require(values.firstIndex(of: best)) + 1
        let metadata = try SafetensorsFile(path: run.path + "/best.safetensors").metadata
        #expect(metadata["epoch"] == "\(epoch)" && metadata[key] == "\(abs(best))", "\(metadata) of \(values)")
        #expect(job.output.contains("\nbest\(hasAverage ? ", average" : ""): epoch \(epoch), "), "\(job.output)")
        let place = "epoch \(epoch)\(hasAverage ? ", average" : ""), by \(measure.words)"
        #expect(String(decoding: try scratch.read("run/README.md"), as: UTF8.self).contains(place))
    }
}
