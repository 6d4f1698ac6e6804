import DenseNetModel
import FoundationEssentials
import Support
import Testing

@testable import Training

@Suite struct LearningRateScheduleTests {
    private typealias Shape = LearningRateSchedule.Shape
    private let step = Shape.step(milestones: [0.5, 0.75], factor: 0.1)

    private func schedule(_ shape: Shape, warmUp: Int = 0) -> LearningRateSchedule {
        LearningRateSchedule(shape: shape, learningRate: 0.1, warmUpEpochs: warmUp)
    }

    private func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-12 * abs(b) }

    /// Epochs are counted from 1, as in the papers.
    private func rateAtStart(ofEpoch epoch: Int, of epochs: Int, _ schedule: LearningRateSchedule) -> Double {
        schedule.rate(step: (epoch - 1) * 782, stepsPerEpoch: 782, epochs: epochs)
    }

    @Test func `the steps of the paper fall at the start of epochs 151 and 226 of 300`() throws {
        let step = LearningRateSchedule()
        for (epoch, rate) in [(1, 0.1), (150, 0.1), (151, 0.01), (225, 0.01), (226, 0.001), (300, 0.001)] {
            #expect(near(rateAtStart(ofEpoch: epoch, of: 300, step), rate), "epoch \(epoch)")
        }
        #expect(near(step.rate(step: 150 * 782 - 1, stepsPerEpoch: 782, epochs: 300), 0.1))
    }

    @Test func `odd epochs and inexact fractions give the right steps`() throws {
        let half = schedule(step)
        #expect(near(rateAtStart(ofEpoch: 3, of: 7, half), 0.1) && near(rateAtStart(ofEpoch: 4, of: 7, half), 0.01))
        let other = schedule(.step(milestones: [0.29], factor: 0.1))
        #expect(
            near(rateAtStart(ofEpoch: 29, of: 100, other), 0.1) && near(rateAtStart(ofEpoch: 30, of: 100, other), 0.01))
    }

    @Test func `a cosine starts at the rate, is at half of it halfway and ends near 0`() throws {
        let cosine = schedule(.cosine)
        #expect(cosine.rate(step: 0, stepsPerEpoch: 10, epochs: 10) == 0.1)
        #expect(near(cosine.rate(step: 50, stepsPerEpoch: 10, epochs: 10), 0.05))
        #expect(near(cosine.rate(step: 25, stepsPerEpoch: 10, epochs: 10), 0.08535533905932738))
        #expect(abs(cosine.rate(step: 99, stepsPerEpoch: 10, epochs: 10) - 2.4671981713422e-05) < 1e-16)
        #expect(cosine.rate(step: 200, stepsPerEpoch: 10, epochs: 10) == 0)
    }

    @Test func `a line falls by as much in every step, from the rate to 0`() throws {
        let line = schedule(.linear)
        for step in 0...100 {
            #expect(abs(line.rate(step: step, stepsPerEpoch: 10, epochs: 10) - 0.001 * Double(100 - step)) < 1e-15)
        }
        #expect(line.rate(step: 200, stepsPerEpoch: 10, epochs: 10) == 0)
    }

    @Test func `a triangle rises by as much in every step of the first fifth and falls likewise to 0`() throws {
        let triangle = schedule(.triangle)
        for step in 0...100 {
            let rate = step < 20 ? 0.005 * Double(step + 1) : 0.1 / 80 * Double(100 - step)
            #expect(abs(triangle.rate(step: step, stepsPerEpoch: 20, epochs: 5) - rate) < 1e-15, "step \(step)")
        }
    }

    @Test func `a rate for batches of one size grows with the batch`() throws {
        var run = RunConfiguration(
            network: try DenseNetConfiguration(model: "densenet-bc-10-4"), epochs: 10, batchSize: 256)
        #expect(near(run.learningRate(step: 0, stepsPerEpoch: 10), 0.1))
        run.baseBatch = 64
        #expect(near(run.learningRate(step: 0, stepsPerEpoch: 10), 0.4))
        #expect(near(run.learningRate(step: 99, stepsPerEpoch: 10), 0.004))
    }

    @Test func `one-cycle has the values of PyTorch`() throws {
        let oneCycle = schedule(.oneCycle)
        let hundred: [(Int, Double)] = [
            (0, 0.0040000000000000036), (10, 0.029516394846410082), (29, 0.1), (30, 0.09994965352845243),
            (60, 0.05892800902855288),
            (99, 4e-07), (120, 4e-07),
        ]
        for (step, rate) in hundred {
            #expect(abs(oneCycle.rate(step: step, stepsPerEpoch: 20, epochs: 5) - rate) < 1e-15, "step \(step) of 100")
        }
        let seven = [
            0.0040000000000000036, 0.09805566273349588, 0.09190443762697106, 0.06726838364805451, 0.035773877573965704,
            0.00992967918932656, 4e-07,
        ]
        for (step, rate) in seven.enumerated() {
            #expect(abs(oneCycle.rate(step: step, stepsPerEpoch: 7, epochs: 1) - rate) < 1e-15, "step \(step) of 7")
        }
    }

    @Test func `warm-up rises with every step to the rate and continues without a jump`() throws {
        for shape in [.constant, .cosine, .linear, step] {
            let warm = schedule(shape, warmUp: 2)
            for step in 0..<20 {
                #expect(near(warm.rate(step: step, stepsPerEpoch: 10, epochs: 10), 0.1 * Double(step + 1) / 20))
            }
            #expect(near(warm.rate(step: 20, stepsPerEpoch: 10, epochs: 10), 0.1))
        }
        #expect(near(schedule(.cosine, warmUp: 2).rate(step: 60, stepsPerEpoch: 10, epochs: 10), 0.05))
    }

    @Test func `every rate of the shortest and strangest runs is finite and in range`() throws {
        for shape in [.constant, .cosine, .linear, .triangle, step, .oneCycle] {
            for epochs in 1...5 {
                for stepsPerEpoch in 1...5 {
                    for warmUp in shape == .oneCycle || shape == .triangle ? [0] : [0, 1, 9] {
                        let schedule = schedule(shape, warmUp: warmUp)
                        for step in 0..<epochs * stepsPerEpoch {
                            let rate = schedule.rate(step: step, stepsPerEpoch: stepsPerEpoch, epochs: epochs)
                            #expect(
                                rate > 0 && rate <= 0.1 * (1 + 1e-12),
                                "\(shape), step \(step) of \(epochs) × \(stepsPerEpoch)")
                        }
                    }
                }
            }
        }
    }

    @Test func `a schedule survives JSON unchanged`() throws {
        for schedule in [
            schedule(.constant), schedule(.step(milestones: [0.3, 0.6], factor: 0.1), warmUp: 3), schedule(.oneCycle),
            schedule(.linear), schedule(.triangle),
        ] {
            let text = try JSONEncoder().encode(schedule)
            #expect(try JSONDecoder().decode(LearningRateSchedule.self, from: text) == schedule)
        }
    }

    @Test(
        arguments: [
            (.step(milestones: [0.7, 0.5], factor: 0.1), 0.1, 0, "expected ascending fractions"),
            (.step(milestones: [150, 225], factor: 0.1), 0.1, 0, "`milestones` is 150.0,225.0"),
            (.step(milestones: [.nan], factor: 0.1), 0.1, 0, "`milestones` is nan"),
            (.constant, 0, 0, "`learningRate` is 0.0, expected a number above 0"),
            (.constant, .nan, 0, "`learningRate` is nan"),
            (.constant, 0.1, -1, "`warmUpEpochs` is -1"),
            (.oneCycle, 0.1, 1, "has a warm-up of its own"),
        ] as [(LearningRateSchedule.Shape, Double, Int, String)])
    func `an impossible schedule is refused`(
        _ shape: LearningRateSchedule.Shape, _ rate: Double, _ warmUp: Int, _ words: String
    ) {
        let schedule = LearningRateSchedule(shape: shape, learningRate: rate, warmUpEpochs: warmUp)
        let failure = #expect(throws: Failure.self) { try schedule.validate() }
        #expect(failure?.kind == .usage && failure?.message.contains(words) == true, "\(failure!)")
    }
}
