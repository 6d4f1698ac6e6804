import DenseNetModel
import Planning
import Testing

@testable import DataParallel

/// The calls of a training step on more ranks than any machine here has.
@Suite struct RankSimulationTests {
    /// DenseNet-BC of 16 layers: ten sums each way.
    private let schedule = stepSchedule(
        DenseNetConfiguration(
            stem: .cifar, blocks: [2, 2], growthRate: 24, stemChannels: 48, bottleneck: true, compression: 0.5,
            classes: 10, image: 32))

    /// What a rank of a training run does in a step; `late` seconds before its second sum.
    private func calls(
        _ model: StepModel, ranks: Int, isTraining: Bool = true, late: Double = 0
    ) -> [RankSimulation.Call] {
        let parts = model.full.parts(images: 1, slowestOf: 1)
        let sizes = model.exchange.bucketSizes(gradientCount: schedule.gradientCount)
        var started = 0
        // Rank zero's learning rate; the step; loss, hits and whether to stop.
        var calls: [RankSimulation.Call] = isTraining ? [.broadcast] : []
        for (index, (event, part)) in zip(schedule.events, parts).enumerated() {
            calls.append(.compute(seconds: part + (index == 1 ? late : 0)))
            switch event {
            case .sum(let values): calls.append(.sum(values: values))
            case .ready(let offset):
                let end = model.exchange.readyBuckets(upTo: offset, gradientCount: schedule.gradientCount)
                calls += sizes[started..<end].map { .start(elements: $0) }
                started = end
            }
        }
        // Whether the gradient is finite.
        calls += [.waitForAll, .sum(values: 1), .compute(seconds: parts.last!)]
        return calls + (isTraining ? [.sum(values: 4)] : [])
    }

    @Test(arguments: [6, 64, 256, 1024])
    func `a step of many ranks comes to its end, with little on the way at any of them`(_ count: Int) throws {
        let model = stepModel(schedule)
        let step = calls(model, ranks: count)
        let simulation = RankSimulation(ranks: count, on: model.machine) { _ in step }
        try simulation.run()
        let buckets = model.exchange.bucketSizes(gradientCount: schedule.gradientCount).count
        let rounds = Machine.rounds(count)
        // What a rank keeps grows with the logarithm of the ranks, and its requests do not grow.
        #expect(buckets > 1 && simulation.mostRequests <= buckets)
        #expect(simulation.mostUndelivered <= (rounds + 2) * (buckets + 1), "\(simulation.mostUndelivered)")
        #expect(simulation.mostPartners <= 2 * rounds, "\(simulation.mostPartners)")
        #expect(simulation.messages >= schedule.sums.count * count)
    }

    @Test func `the clock of the ranks is the model's`() throws {
        for count in [2, 16, 64, 256] {
            let model = stepModel(schedule)
            let simulation = RankSimulation(ranks: count, on: model.machine) { _ in
                calls(model, ranks: count, isTraining: false)
            }
            try simulation.run()
            let predicted = model.step(ranks: count, batchSize: count)
            // The model has buckets one after the other; here they do not share a link.
            #expect(simulation.seconds <= predicted.seconds + 1e-9)
            #expect(simulation.seconds >= predicted.compute + predicted.statistics - 1e-9)
        }
    }

    @Test func `a rank that is late lets each call of the others wait once, not each after the other`() throws {
        let model = stepModel(schedule)
        let late = 2.0
        let simulation = RankSimulation(ranks: 256, on: model.machine) { rank in
            calls(model, ranks: 256, late: rank == 77 ? late : 0)
        }
        try simulation.run()
        let step = model.step(ranks: 256, batchSize: 256).seconds
        #expect(simulation.longestWait > late * 0.9 && simulation.longestWait < late + step)
        #expect(simulation.seconds < late + 2 * step)
    }

    @Test func `a rank with another order of calls, or with one call less, is found`() throws {
        let model = stepModel(schedule)
        let step = calls(model, ranks: 64)
        func run(_ change: (inout [RankSimulation.Call]) -> Void) throws {
            try RankSimulation(ranks: 64, on: model.machine) { rank in
                var own = step
                if rank == 13 { change(&own) }
                return own
            }.run()
        }
        let sums = step.indices.filter { if case .sum = step[$0] { true } else { false } }
        let different = try #require(sums.dropFirst().first { step[$0] != step[sums[0]] })
        #expect(throws: RankSimulation.Problem.self) { try run { $0.swapAt(sums[0], different) } }
        #expect(throws: RankSimulation.Problem.self) { try run { $0.remove(at: sums[3]) } }
        #expect(throws: RankSimulation.Problem.self) { try run { $0.removeLast() } }
        try run { _ in }
    }

    @Test func `a thousand ranks use the folder of heartbeats no more often than 64`() {
        for count in [1, 2, 64, 65, 256, 1000, 1024] {
            let pace = HeartbeatPace(ranks: count)
            let most = (1...200).map { poll in (0..<count).count { pace.isDue($0, poll: poll) } }.max()!
            #expect(most <= HeartbeatPace.ranksAtEachPoll, "\(count) ranks: \(most) at a poll")
            // Whoever lives has written twice between two readings, and the peer thread is given the time for both.
            #expect(pace.pollsBetweenReadings >= 2 * pace.pollsBetweenHeartbeats)
            let slowest = (0..<count).map(pace.pollsBeforeReading).max()! + pace.pollsBetweenReadings
            #expect(pace.investigationLimit > 0.25 * Double(slowest) + 2)
            // Few read all of them first.
            let first = (0..<count).count { pace.pollsBeforeReading($0) == 0 }
            #expect((1...HeartbeatPace.ranksAtEachPoll).contains(first))
        }
        #expect(
            HeartbeatPace(ranks: 64).pollsBetweenHeartbeats == 1 && HeartbeatPace(ranks: 64).pollsBetweenReadings == 8)
        #expect(HeartbeatPace(ranks: 64).investigationLimit == 8)
        #expect(HeartbeatPace(ranks: 1024).pollsBetweenHeartbeats == 16)
    }
}
