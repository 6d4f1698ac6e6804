import FoundationEssentials
import Support
import TestSupport
import Testing
import Training

@Suite struct MetricsLogTests {
    let scratch = ScratchFolder()
    var log: MetricsLog { MetricsLog(path: scratch("metrics.jsonl")) }

    private func metrics(_ epoch: Int, loss: Double = 1.5) -> EpochMetrics {
        EpochMetrics(
            epoch: epoch, trainLoss: loss, trainAccuracy: 0.4452, testLoss: 1.25, testAccuracy: 0.5,
            imagesPerSecond: 250, learningRate: 1e-05, dataWaitSeconds: 0.125, checkpointWaitSeconds: 0.25,
            epochSeconds: 200, evaluationSeconds: 8)
    }

    private func record(_ step: Int, epoch: Int) -> StepRecord {
        StepRecord(
            epoch: epoch, step: step, loss: 1.5, accuracy: 0.5, learningRate: 0.1, imagesPerSecond: 250,
            dataWaitSeconds: 0.25)
    }

    private func text() throws -> String { String(decoding: try scratch.read("metrics.jsonl"), as: UTF8.self) }

    private func epochs() throws -> [Int] {
        try text().split(separator: "\n").map { try JSONDecoder().decode(EpochMetrics.self, from: Data($0.utf8)).epoch }
    }

    @Test func `an epoch gives a line with the keys that scripts rely on`() throws {
        try log.append(metrics(1))
        try log.append(metrics(2))
        let line = try #require(try text().split(separator: "\n").first)
        // One literal: a sum of several takes the compiler too long.
        let expected = #"""
            {"checkpoint_wait_seconds":0.25,"data_wait_seconds":0.125,"epoch":1,"epoch_seconds":200,\#
            "evaluation_seconds":8,"images_per_second":250,"learning_rate":1e-05,"test_accuracy":0.5,\#
            "test_loss":1.25,"train_accuracy":0.4452,"train_loss":1.5}
            """#
        #expect(line == expected)
        #expect(try epochs() == [1, 2])
    }

    @Test func `nonfinite numbers are null and are read as NaN`() throws {
        try log.append(metrics(1, loss: .nan))
        try log.append(metrics(2, loss: -.infinity))
        for line in try text().split(separator: "\n") {
            #expect(line.hasSuffix("\"train_loss\":null}"))
            #expect(try JSONDecoder().decode(EpochMetrics.self, from: Data(line.utf8)).trainLoss.isNaN)
        }
    }

    @Test func `results beside the weights' own have keys where there are any, and are read again`() throws {
        var metrics = metrics(1)
        (metrics.average, metrics.averageFlipped) = (TestResult(1.125, 0.75), TestResult(.nan, 0.25))
        try log.append(metrics)
        #expect(
            try text().contains(
                #""ema_flip_test_accuracy":0.25,"ema_flip_test_loss":null,"ema_test_accuracy":0.75,"ema_test_loss":1.125,"#
            ))
        let read = try #require(try log.epochs().first)
        #expect(read.average == metrics.average && read.flipped == nil && read.averageFlipped?.accuracy == 0.25)
        #expect(read.averageFlipped?.loss.isNaN == true && read.deciding.accuracy == 0.75)
        // The average decides, whatever the weights themselves come to.
        var other = self.metrics(2)
        (other.testAccuracy, other.average) = (0.9, TestResult(1, 0.5))
        #expect([read, other].best(by: .accuracy)?.epoch == 1)
    }

    @Test func `measures of classes have keys where there are any, and old lines are read without`() throws {
        var metrics = metrics(1)
        metrics.measures = ClassMeasures(macroRecall: 0.5, macroPrecision: 0.25, topFive: 0.75, auroc: 0.875)
        metrics.average = TestResult(1, 0.5, ClassMeasures(macroRecall: 0.125))
        metrics.flipped = TestResult(1, 0.5)
        try log.append(metrics)
        try log.append(self.metrics(2))
        let lines = try text().lines
        for part in [
            #""macro_precision":0.25,"macro_recall":0.5,"#, #""top5":0.75,"#, #"{"auroc":0.875,"#,
            #""ema_macro_recall":0.125,"ema_test_accuracy":0.5,"#,
        ] { #expect(lines[0].contains(part), "\(lines[0])") }
        #expect(!lines[1].contains("macro") && !lines[0].contains("flip_macro") && !lines[0].contains("ema_auroc"))
        let read = try log.epochs()
        #expect(read[0].test == metrics.test && read[0].average == metrics.average)
        #expect(read[0].flipped == metrics.flipped && read[1].measures == ClassMeasures())
        // The average decides, which has no area here.
        #expect(read.best(by: .macroRecall)?.epoch == 1 && read.best(by: .auroc) == nil)
    }

    @Test func `the best epoch is the first of those with the best measure, and one that is no number is never`()
        throws
    {
        let losses = [1.5, 0.5, 0.5, Double.nan, 2].enumerated().map { epoch, loss in
            var metrics = self.metrics(epoch + 1)
            (metrics.testLoss, metrics.testAccuracy) = (loss, epoch < 3 ? 0.25 : 0.75)
            return metrics
        }
        #expect(losses.best(by: .loss)?.epoch == 2 && losses.best(by: .accuracy)?.epoch == 4)
        #expect(losses[3...3].map(\.self).best(by: .loss) == nil)
    }

    @Test func `resuming drops later epochs and a truncated last line`() throws {
        for epoch in 1...4 { try log.append(metrics(epoch)) }
        let whole = try scratch.read("metrics.jsonl")
        for cut in [0, 1, 7, 100] {
            _ = try scratch.write(whole.dropLast(cut), to: "metrics.jsonl")
            try log.truncate(keepingEpochsUpTo: 2, stepsUpTo: 0)
            #expect(try epochs() == [1, 2])
        }
        _ = try scratch.write(whole.dropLast(20), to: "metrics.jsonl")
        try log.truncate(keepingEpochsUpTo: 4, stepsUpTo: 0)
        #expect(try epochs() == [1, 2, 3])
        try log.append(metrics(4))
        #expect(try scratch.read("metrics.jsonl") == whole)
        // A line that lacks only its line feed is complete.
        _ = try scratch.write(whole.dropLast(), to: "metrics.jsonl")
        try log.truncate(keepingEpochsUpTo: 4, stepsUpTo: 0)
        #expect(try scratch.read("metrics.jsonl") == whole)
        #expect(scratch.names == ["metrics.jsonl"])
    }

    @Test func `lines of steps are no epochs, and those past the checkpoint are dropped when a run is resumed`() throws
    {
        // Epochs of four steps.
        for epoch in 1...2 {
            try log.append([record(4 * epoch - 2, epoch: epoch), record(4 * epoch, epoch: epoch)])
            try log.append(metrics(epoch))
        }
        let lines = try text().lines
        let expected: String =
            #"{"accuracy":0.5,"data_wait_seconds":0.25,"epoch":1,"images_per_second":250,"#
            + #""learning_rate":0.1,"loss":1.5,"step":2}"#
        #expect(lines[0] == expected)
        #expect(try log.lastEpoch() == 2 && log.epochs().map(\.epoch) == [1, 2])
        // At a checkpoint of step 6, within epoch 2; and at one of its end, before its evaluation.
        let whole = try scratch.read("metrics.jsonl")
        for (steps, count) in [(6, 4), (7, 4), (8, 5)] {
            for cut in [0, 1, 30] {
                _ = try scratch.write(whole.dropLast(cut), to: "metrics.jsonl")
                try log.truncate(keepingEpochsUpTo: 1, stepsUpTo: steps)
                #expect(try text().lines == Array(lines.prefix(count)), "step \(steps), \(cut) bytes cut")
            }
        }
        try log.truncate(keepingEpochsUpTo: 0, stepsUpTo: 2)
        #expect(try text().lines == Array(lines.prefix(1)) && log.lastEpoch() == nil)
    }

    @Test func `a missing log is not created, and one with a foreign line is refused unchanged`() throws {
        try log.truncate(keepingEpochsUpTo: 2, stepsUpTo: 0)
        #expect(scratch.names == [])
        try log.append(metrics(1))
        let bytes = try scratch.read("metrics.jsonl") + Array("what\n".utf8)
        _ = try scratch.write(bytes, to: "metrics.jsonl")
        let path = log.path
        #expect(throws: Failure(.data, "\(path): line 2 is no metrics of an epoch or of steps; mend or remove it")) {
            try log.truncate(keepingEpochsUpTo: 9, stepsUpTo: 0)
        }
        #expect(try scratch.read("metrics.jsonl") == bytes)
    }

    @Test func `a log that cannot be written is named`() {
        let failure = #expect(throws: Failure.self) { try MetricsLog(path: scratch("no/log")).append(metrics(1)) }
        #expect(failure?.kind == .unavailable && failure?.message.contains(scratch("no/log")) == true)
    }
}
