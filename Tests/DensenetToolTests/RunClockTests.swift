import Testing

@testable import DensenetTool
@testable import Training

/// What is foreseen of a run's rest, and how much a log takes.
@Suite struct RunClockTests {
    private func near(_ value: Double?, _ expected: Double) -> Bool { abs((value ?? .nan) - expected) < 1e-6 }

    @Test func `the rest of a run is its steps and its evaluations`() {
        // Three epochs of ten steps; a third as many test images as training images.
        var clock = RunClock(steps: 30, stepsPerEpoch: 10, testShare: 1.0 / 3)
        func progress(_ phase: RunProgress.Phase, _ epoch: Int, _ done: Int, of total: Int) -> RunProgress {
            RunProgress(phase: phase, epoch: epoch, done: done, total: total, loss: 1, accuracy: 0)
        }
        let early = progress(.training, 1, 2, of: 10)
        #expect(clock.remaining(at: early) == nil)
        for seconds in [1.5, 2.5] { clock.stepped(1, seconds: seconds) }
        // A forward pass over a third of the images is a ninth of an epoch's work, 20 s.
        #expect(near(clock.remaining(at: early), 28 * 2 + 3 * 20 / 9.0))
        clock.evaluated(seconds: .nan)
        #expect(near(clock.remaining(at: early), 28 * 2 + 3 * 20 / 9.0))
        clock.evaluated(seconds: 4)
        #expect(near(clock.remaining(at: early), 28 * 2 + 3 * 4))
        #expect(near(clock.remaining(at: progress(.evaluation, 2, 1, of: 4)), 10 * 2 + 4 + 3))
        #expect(near(clock.remaining(at: progress(.evaluation, 3, 4, of: 4)), 0))
    }

    @Test func `a run that ends within an epoch has an evaluation after it, and recent steps count most`() {
        var clock = RunClock(steps: 12, stepsPerEpoch: 10, testShare: 1)
        clock.evaluated(seconds: 4)
        for _ in 0..<1000 { clock.stepped(1, seconds: 1) }
        for _ in 0..<1000 { clock.stepped(1, seconds: 3) }
        let progress = RunProgress(phase: .training, epoch: 1, done: 2, total: 10, loss: 1, accuracy: 0)
        #expect(near(clock.remaining(at: progress), 10 * 3 + 2 * 4))
    }

    @Test func `steps with small images count by their work`() {
        // Two epochs of ten steps at a quarter of the work, then one at half of it, then one of whole images.
        var clock = RunClock(steps: 40, stepsPerEpoch: 10, testShare: 0, phases: [(2, 0.25), (1, 0.5)])
        clock.evaluated(seconds: 0)
        func remaining(_ epoch: Int, _ done: Int) -> Double? {
            clock.remaining(
                at: RunProgress(phase: .training, epoch: epoch, done: done, total: 10, loss: 1, accuracy: 0))
        }
        clock.stepped(20, seconds: 1)
        #expect(near(remaining(1, 0), 20 + 20 + 40) && near(remaining(2, 5), 5 + 20 + 40))
        #expect(near(remaining(3, 5), 10 + 40) && near(remaining(4, 5), 20))
        // Whole images turn out to take five seconds.
        clock.stepped(21, seconds: 3)
        #expect(near(remaining(4, 5), 25))
    }

    @Test func `an average doubles the evaluations, and mirror images add two passes of each to the last`() {
        var clock = RunClock(steps: 30, stepsPerEpoch: 10, testShare: 1, passes: (2, 6))
        clock.stepped(1, seconds: 1)
        clock.evaluated(seconds: 8)
        func remaining(_ phase: RunProgress.Phase, epoch: Int, done: Int, passesBefore: Int = 0) -> Double? {
            clock.remaining(
                at: RunProgress(
                    phase: phase, epoch: epoch, done: done, total: 10, loss: 1, accuracy: 0, passesBefore: passesBefore)
            )
        }
        #expect(near(remaining(.training, epoch: 1, done: 10), 20 + (2 + 2 + 6) * 4))
        #expect(near(remaining(.averageEvaluation, epoch: 2, done: 5, passesBefore: 1), 10 + (0.5 + 6) * 4))
        #expect(near(remaining(.flippedEvaluation, epoch: 3, done: 5, passesBefore: 2), (1 + 2) * 4))
        #expect(near(remaining(.averageFlippedEvaluation, epoch: 3, done: 10, passesBefore: 4), 0))
    }

    /// Bytes that a day's log has where an epoch takes so many seconds, with ten lines of progress in each.
    private func day(epochSeconds: Double, from start: Double, _ budget: LogBudget) -> Int {
        let progress = String(repeating: "p", count: 100)
        let epoch = String(repeating: "e", count: 165)
        var (bytes, now) = (0, start)
        while now < start + 86_400 {
            for part in 1...10 {
                now += epochSeconds / 10
                // As the line itself, at least ten seconds apart.
                let isDue = epochSeconds >= 100 || part == 10 && epochSeconds >= 10
                if isDue, budget.allows(progress, isProgress: true, now: now) { bytes += 101 }
            }
            if budget.allows(epoch, isProgress: false, now: now) { bytes += 166 }
        }
        return bytes
    }

    @Test(arguments: [0.5, 10, 100, 170, 1000, 20_000])
    func `a day's log stays under 100 KB, the first day and any other`(epochSeconds: Double) {
        let budget = LogBudget(now: 0)
        for number in 0..<3 {
            let bytes = day(epochSeconds: epochSeconds, from: Double(number) * 86_400, budget)
            #expect(bytes < 97_000 && bytes > min(10_000, Int(86_400 / epochSeconds) * 266), "\(bytes)")
        }
    }

    @Test func `three hundred epochs of a minute and a half all have their lines`() {
        let budget = LogBudget(now: 0)
        for epoch in 1...300 {
            let now = Double(epoch) * 90
            for part in 1...9 {
                _ = budget.allows(
                    String(repeating: "p", count: 100), isProgress: true, now: now - 90 + Double(part) * 9)
            }
            #expect(budget.allows(String(repeating: "e", count: 165), isProgress: false, now: now), "epoch \(epoch)")
        }
    }
}
