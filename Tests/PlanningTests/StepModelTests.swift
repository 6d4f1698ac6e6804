import DenseNetModel
import Planning
import Testing

/// What must hold of a prediction, whatever the numbers.
@Suite struct StepModelTests {
    private let counts = [1, 2, 3, 4, 8, 16, 17, 32, 64, 128, 1024]

    @Test func `one rank takes the time that it computes`() throws {
        let schedule = try stepSchedule(of: "densenet-bc-100-12")
        let step = stepModel(schedule, profile: linearProfile(schedule, fixed: 0.003, perImage: 0.02))
            .step(ranks: 1, batchSize: 64)
        #expect(abs(step.seconds - (0.003 + 64 * 0.02)) < 1e-9 && step.compute == step.seconds)
        #expect(step.statistics == 0 && step.gradients == 0 && step.waiting == 0)
    }

    @Test func `no efficiency is above 1, and a better link never makes a step longer`() throws {
        for name in ["densenet-bc-100-12", "densenet121"] {
            let schedule = try stepSchedule(of: name)
            var before: [Double]?
            for scale in [0.0, 0.1, 1, 10, 100, 1000] {
                var machine = Machine.assumed
                machine.local.latency *= scale
                machine.network.latency *= scale
                machine.network.bandwidth /= max(scale, 0.1)
                let model = stepModel(schedule, machine, profile: linearProfile(schedule, fixed: 0.01, spread: 0.2))
                let steps = counts.map { model.step(ranks: $0, batchSize: 2048) }
                #expect(steps.allSatisfy { model.efficiency(of: $0) <= 1 + 1e-9 })
                #expect(steps.dropFirst().allSatisfy { $0.waiting > 0 && $0.statistics >= 0 })
                let seconds = steps.map(\.seconds)
                if let before { #expect(zip(before, seconds).allSatisfy { $0 <= $1 + 1e-12 }, "\(scale)") }
                before = seconds
            }
        }
    }

    @Test func `every sum costs its rounds, those between hosts for all ranks of a host`() throws {
        let machine = Machine(
            ranksPerHost: 4, local: Link(latency: 1, bandwidth: 8), localGradients: 1,
            network: Link(latency: 100, bandwidth: 8))
        #expect(machine.sum(values: 3, ranks: 2) == 1 + 3)
        #expect(machine.sum(values: 3, ranks: 4) == 2 * (1 + 3))
        #expect(machine.sum(values: 3, ranks: 16) == 2 * (1 + 3) + 2 * (100 + 4 * 3))
        #expect([1, 2, 3, 4, 5, 8, 1000, 1024].map(Machine.rounds) == [0, 1, 3, 2, 4, 3, 11, 10])
        let schedule = try stepSchedule(of: "densenet-40-12")
        let step = stepModel(schedule, machine).step(ranks: 16, batchSize: 64)
        let expected = schedule.sums.reduce(0.0) { $0 + machine.sum(values: $1, ranks: 16) }
        #expect(abs(step.statistics / expected - 1) < 1e-12)
    }

    @Test func `buckets are hidden behind backward as far as they are ready, and no further`() throws {
        let schedule = try stepSchedule(of: "densenet121")
        var machine = Machine.assumed
        machine.ranksPerHost = 1
        machine.local = Link(latency: 0, bandwidth: 1e15)
        func step(_ bandwidth: Double) -> StepModel.Prediction {
            machine.network = Link(latency: 0, bandwidth: bandwidth)
            return stepModel(schedule, machine, profile: linearProfile(schedule, perImage: 0.01)).step(
                ranks: 2, batchSize: 64)
        }
        // All of it crosses once in each direction; the last bucket is ready only when backward is done.
        let bytes = 4 * Double(schedule.gradientCount)
        let exchange = GradientExchange.buckets
        let last = 4 * Double(exchange.bucketSizes(gradientCount: schedule.gradientCount).last!)
        #expect(step(1e12).gradients < 1e-4)
        let slow = step(1e7)
        // One way for all, and the last bucket's way back.
        let (most, least) = ((bytes + last) / 1e7, (bytes + last) / 1e7 - slow.compute)
        #expect(slow.gradients < most + 1e-4 && slow.gradients > least)
        #expect(step(1e9).gradients >= 2 * last / 1e9)
        #expect(
            exchange.bucketSizes(gradientCount: schedule.gradientCount).reduce(0, +) == schedule.gradientCount
                && exchange.readyBuckets(upTo: schedule.gradientCount, gradientCount: schedule.gradientCount)
                    == exchange.bucketSizes(gradientCount: schedule.gradientCount).count
        )
    }

    @Test func `the slowest of many draws is the mean of one, and nearly the largest sample of many`() {
        let samples = [1.0, 2, 3, 6]
        #expect(expectedMaximum(of: 1, samples) == 3)
        // Of the 16 pairs: 1, three times 2, five times 3, seven times 6.
        #expect(abs(expectedMaximum(of: 2, samples) - (1 + 6 + 15 + 42) / 16) < 1e-12)
        #expect(expectedMaximum(of: 1024, samples) > 5.99)
        #expect(expectedMaximum(of: 7, [0.5]) == 0.5)
    }

    @Test func `images between two measurements and beyond them are on the line, and a fixed part stays`() throws {
        let schedule = stepSchedule(networks[0])
        let profile = linearProfile(schedule, fixed: 0.5, perImage: 0.25)
        for images in [1, 2, 10, 64, 100] {
            let seconds = profile.parts(images: images, slowestOf: 1).reduce(0, +)
            #expect(abs(seconds - (0.5 + 0.25 * Double(images))) < 1e-9)
        }
        let whole = ComputeProfile(
            stepsOf: [.init(images: 8, forward: 1, backward: 2, optimizer: 0.5)], schedule)
        #expect(abs(whole.parts(images: 8, slowestOf: 4).reduce(0, +) - 3.5) < 1e-9)
        #expect(abs(whole.parts(images: 4, slowestOf: 1).reduce(0, +) - 2) < 1e-9)
        let waited = ComputeProfile(
            stepsOf: [.init(images: 8, ranks: 4, forward: 1, backward: 2, optimizer: 1, waiting: 0.4)], schedule)
        #expect(abs(waited.parts(images: 8, slowestOf: 4).reduce(0, +) - 4.4) < 1e-9)
        #expect(abs(waited.parts(images: 8, slowestOf: 1).reduce(0, +) - 4) < 1e-9)
    }

    @Test func `a batch that pays does, and half of it does not`() throws {
        let schedule = try stepSchedule(of: "densenet121")
        let model = stepModel(schedule, profile: linearProfile(schedule, fixed: 0.02))
        for ranks in [2, 16, 256] {
            let batch = try #require(model.payingBatch(ranks: ranks, efficiency: 0.7))
            #expect(model.efficiency(of: model.step(ranks: ranks, batchSize: batch)) >= 0.7)
            guard batch > ranks else { continue }
            #expect(model.efficiency(of: model.step(ranks: ranks, batchSize: batch / 2)) < 0.7)
        }
        var slow = model
        slow.machine.network.latency = 1
        #expect(slow.payingBatch(ranks: 32, efficiency: 0.7) == nil)
    }
}
