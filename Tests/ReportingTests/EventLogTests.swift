import DenseNetModel
import FoundationEssentials
import Glibc
import ImageData
import Pictures
import Support
import TestSupport
import Testing

@testable import Reporting
@testable import Training

/// The event files of a run, start by start.
@Suite struct EventLogTests {
    let scratch = ScratchFolder()
    private var events: String { scratch("events") }

    private func step(_ step: Int, of stepsPerEpoch: Int, images: Int = 64, loss: Double? = nil) -> StepMetrics {
        StepMetrics(
            epoch: (step - 1) / stepsPerEpoch + 1, step: step, loss: loss ?? Double(step), accuracy: 1 / Double(step),
            learningRate: 0.1 * Double(step), images: images, seconds: 0.5, dataWaitSeconds: 0.25)
    }

    private func epoch(_ epoch: Int) -> (EpochMetrics, Evaluation) {
        let metrics = EpochMetrics(
            epoch: epoch, trainLoss: 1.5, trainAccuracy: 0.4452, testLoss: .nan, testAccuracy: 0.5,
            imagesPerSecond: 250, learningRate: 1e-05, dataWaitSeconds: 0.125, checkpointWaitSeconds: 0.25,
            epochSeconds: 200, evaluationSeconds: 8)
        return (metrics, Evaluation(loss: 1, matrix: [3, 1, 2, 4], total: [4, 6], mistakes: []))
    }

    private func log(_ plan: EventPlan, afterStep step: Int = 0, epoch: Int = 0) throws -> EventLog {
        try EventLog(ofRun: scratch.path, plan: plan, step: step, epoch: epoch, host: "a/host")
    }

    private func steps(_ tag: String) throws -> [Int] {
        try eventValues(inFolder: events).filter { $0.tag == tag }.map(\.step)
    }

    private func numbers(_ tag: String) throws -> [Float] {
        try eventValues(inFolder: events).filter { $0.tag == tag }.compactMap(\.number)
    }

    @Test func `an epoch is a point of each of its numbers, by their names in metrics.jsonl`() throws {
        var log = try log(EventPlan(epochs: 2, stepsPerEpoch: 4))
        let (metrics, evaluation) = epoch(2)
        try log.add(metrics, evaluation)
        let values = try eventValues(inFolder: events)
        let json = try JSONEncoder().encode(metrics)
        let names = try #require(try JSONDecoder().decode([String: Double?].self, from: json).keys)
        #expect(
            Set(values.map(\.tag))
                == Set(names.map { "epoch/\($0)" }).subtracting(["epoch/epoch"])
                .union(["epoch/confusion_matrix"]))
        #expect(values.allSatisfy { $0.step == 2 })
        #expect(try numbers("epoch/train_accuracy") == [0.4452] && numbers("epoch/learning_rate") == [1e-05])
        #expect(try numbers("epoch/test_loss")[0].isNaN)
        let picture = try #require(values.last).picture
        #expect(try Picture(picture, path: "picture") == evaluation.confusionPicture())
    }

    @Test func `steps are points of means over their images, and are written before each checkpoint`() throws {
        // 1,000 points of an epoch: one for every two of 1,999 steps, and the last.
        let plan = EventPlan(epochs: 2, stepsPerEpoch: 1_999, checkpointSteps: 1_500)
        var log = try log(plan)
        for number in 1...3_998 {
            try log.add(step(number, of: 1_999, images: number == 1 ? 32 : 64))
            switch number {
            case 1_499: #expect(log.file == nil)
            case 1_500: #expect(try steps("step/loss").last == 1_500)
            case 1_998: #expect(try steps("step/loss").last == 1_500)
            case 1_999: #expect(try steps("step/loss").last == 1_999)
            // The first step of a point.
            case 3_000: #expect(try steps("step/loss").last == 2_999)
            default: break
            }
        }
        let expected = Array(stride(from: 2, to: 1_999, by: 2)) + [1_999]
        #expect(try steps("step/loss") == expected + expected.map { $0 + 1_999 })
        let loss = try numbers("step/loss")
        #expect(loss[0] == Float((1.0 * 32 + 2 * 64) / 96) && loss[1] == 3.5 && loss[999] == 1_999)
        #expect(try numbers("step/accuracy")[1] == Float((1.0 / 3 + 1.0 / 4) / 2))
        #expect(try numbers("step/learning_rate")[1] == 0.4)
        #expect(try numbers("step/images_per_second")[0] == 96 && numbers("step/data_wait_seconds")[7] == 0.25)
    }

    @Test func `a loss that is no number shows in its point and is left out of a line of steps, whose waits add up`()
        throws
    {
        var log = try log(EventPlan(epochs: 1, stepsPerEpoch: 4_000))
        var thinner = StepThinner(interval: 2)
        var records: [StepRecord] = []
        for number in 1...4 {
            let step = step(number, of: 4_000, images: 16 * number, loss: number == 2 ? .nan : nil)
            try log.add(step)
            if let record = thinner.add(step) { records.append(record) }
        }
        try log.finishSteps()
        let loss = try numbers("step/loss")
        #expect(loss[0].isNaN && loss[1] == Float((3.0 * 48 + 4 * 64) / 112))
        #expect(try numbers("step/accuracy")[0] == Float((1.0 * 16 + 0.5 * 32) / 48))
        #expect(try numbers("step/data_wait_seconds") == [0.25, 0.25])
        #expect(records.map(\.loss) == [1, (3.0 * 48 + 4 * 64) / 112] && records[0].accuracy == 1)
        #expect(records.map(\.dataWaitSeconds) == [0.5, 0.5] && records.map(\.imagesPerSecond) == [48, 112])
    }

    @Test func `a stop within a point writes the steps that it has, and the next start the rest`() throws {
        let plan = EventPlan(epochs: 1, stepsPerEpoch: 4_000)
        var first = try log(plan)
        for number in 1...7 { try first.add(step(number, of: 4_000)) }
        try first.finishSteps()
        try first.finishSteps()
        #expect(try steps("step/loss") == [2, 4, 6, 7])
        var second = try log(plan, afterStep: 7)
        for number in 8...4_000 { try second.add(step(number, of: 4_000)) }
        #expect(try steps("step/loss") == [2, 4, 6] + [7] + Array(stride(from: 8, through: 4_000, by: 2)))
        #expect(try numbers("step/loss")[3...5] == [7, 8, 9.5])
    }

    @Test func `a run that goes back to an older checkpoint replaces what came after it`() throws {
        let plan = EventPlan(epochs: 4, stepsPerEpoch: 10)
        var first = try log(plan)
        for number in 1...40 {
            try first.add(step(number, of: 10))
            if number % 10 == 0 {
                let (metrics, evaluation) = epoch(number / 10)
                try first.add(metrics, evaluation)
            }
        }
        try first.end()
        // Torn by the end of the process.
        let names = scratch.names
        let file = try #require(first.file)
        try LogFile.append(Array(repeating: 7, count: 5), to: file)

        var second = try log(plan, afterStep: 25, epoch: 2)
        #expect(try steps("step/loss") == Array(1...25) && steps("epoch/train_loss") == [1, 2])
        #expect(try steps("_hparams_/session_end_info") == [])
        for number in 26...40 { try second.add(step(number, of: 10, loss: 0.5)) }
        #expect(second.file! > file && names == scratch.names)
        #expect(try steps("step/loss") == Array(1...40))
        #expect(try numbers("step/loss").suffix(15) == Array(repeating: 0.5, count: 15)[...])
        try second.end()
        #expect(try steps("_hparams_/session_end_info") == [0])
        var third = try log(plan, afterStep: 40, epoch: 4)
        try third.end()
        #expect(third.file == nil)
    }

    @Test func `a damaged record ends its file, and the files' names go up where the clock does not`() throws {
        let plan = EventPlan(epochs: 1, stepsPerEpoch: 3)
        var first = try log(plan)
        for number in 1...3 { try first.add(step(number, of: 3)) }
        let name = "events.out.tfevents.4000000000.host.1.0"
        try FileManager.default.moveItem(atPath: first.file!, toPath: "\(events)/\(name)")
        let whole = try scratch.read("events/\(name)")
        var damaged = whole
        damaged[whole.count - 20] ^= 1
        _ = try scratch.write(damaged, to: "events/\(name)")
        var second = try log(plan, afterStep: 3)
        let record = (whole.count - 40) / 3
        #expect(try scratch.read("events/\(name)") == whole.dropLast(record))
        #expect(try steps("step/loss") == [1, 2])
        try second.end()
        #expect(second.file?.contains("/events.out.tfevents.4000000001.a-host.\(getpid()).0") == true)
    }

    @Test func `long runs have about as many points and pictures as short ones`() {
        for (epochs, stepsPerEpoch, steps) in [
            (1, 1, nil), (300, 78, nil), (300, 6, nil), (1, 50_000, nil), (9, 5_005, nil), (5_000, 10, nil),
            (300, 782, 100), (300, 782, 5_000), (51, 40, nil), (2_001, 3, 6_002),
        ] {
            let plan = EventPlan(epochs: epochs, stepsPerEpoch: stepsPerEpoch, steps: steps)
            let all = min(epochs * stepsPerEpoch, steps ?? .max)
            let points = (1...all).filter(plan.endsPoint)
            #expect(points.count <= max(EventPlan.points, plan.epochs), "\(epochs), \(stepsPerEpoch)")
            #expect(points.count >= min(all, EventPlan.points / 2) && points.last == all, "\(epochs), \(stepsPerEpoch)")
            let ofEpoch = (1...min(stepsPerEpoch, all)).count(where: plan.endsPoint)
            #expect(ofEpoch < plan.pointsPerEpoch)
            let pictures = (1...plan.epochs).filter(plan.hasPicture)
            #expect(pictures.count <= EventPlan.pictures && pictures.last == plan.epochs)
            #expect(pictures.count >= min(plan.epochs, EventPlan.pictures / 2))
        }
    }

    @Test func `recording a step allocates nothing`() throws {
        let result = try run(builtExecutable(named: "EventTestProgram"), [scratch.path, "5000"])
        #expect(result.status == 0, "\(result.errors)")
        #expect(["0\n", "not counted\n"].contains(result.output), "\(result.output)\(result.errors)")
    }

    @Test func `what cannot be written is one warning`() throws {
        let warnings = Warnings()
        let log = try log(EventPlan(epochs: 3, stepsPerEpoch: 1))
        let recorder = EventRecorder(log) { warnings.add($0) }
        recorder.stepped(step(1, of: 1))
        try FileManager.default.removeItem(atPath: events)
        recorder.stepped(step(2, of: 1))
        recorder.stepped(step(3, of: 1))
        recorder.endIsNear()
        #expect(warnings.all.count == 1 && warnings.all[0].hasPrefix("cannot write \(events)/events.out.tfevents."))
        #expect(warnings.all[0].hasSuffix("; its folder must exist; training continues without event files"))
    }
}

private final class Warnings: @unchecked Sendable {
    private(set) var all: [String] = []

    func add(_ warning: String) { all.append(warning) }
}
