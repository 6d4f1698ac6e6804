import DenseNetModel
import Kernels
import Planning
import Support

extension Benchmark {
    /// Runs some steps, after three that do not count, and times what this rank computes between the events of its
    /// schedule. Collective.
    ///
    /// - Returns: for each part of a step its seconds in the steps that count: the middle half of all, by their length.
    /// - Throws: `Failure(.internal)` where the step has other events than its schedule.
    package func timeParts(of schedule: StepSchedule) throws -> [[Double]] {
        for _ in 0..<3 { try runStep() }
        let earlier = spans.count
        network.clock.start(recordingTrace: true)
        for _ in 0..<configuration.steps { try runStep() }
        network.clock.stop()
        let steps = try Self.parts(of: spans[earlier...], schedule)
        let ordered = steps.sorted { $0.reduce(0, +) < $1.reduce(0, +) }
        let quarter = ordered.count / 4
        let middle = ordered[quarter..<ordered.count - quarter]
        return (0...schedule.events.count).map { part in middle.map { $0[part] } }
    }

    /// Each step's parts, from what the phase clock has recorded. A step's spans begin with the wait for its data.
    private static func parts(of spans: ArraySlice<PhaseClock.Span>, _ schedule: StepSchedule) throws -> [[Double]] {
        let names = schedule.events.map { event in
            switch event {
            case .sum: Phase.statisticsSync.name
            case .ready: Phase.gradientWait.name
            }
        }
        let others = [Phase.dataWait.name, Phase.optimizer.name]
        let marks = spans.filter { names.contains($0.name) || others.contains($0.name) }
        let begins = marks.filter { $0.name == Phase.dataWait.name }.map(\.to)
        return try marks.split { $0.name == Phase.dataWait.name }
            .enumerated().map { index, step in
                guard step.map(\.name) == names + [Phase.optimizer.name] else {
                    throw Failure(
                        .internal, "step \(index + 1) has other events than its schedule: \(step.map(\.name))")
                }
                let ends = [begins[index]] + step.map(\.to)
                return zip(step.dropLast(), ends).map { $0.from - $1 } + [step.last!.to - step.last!.from]
            }
    }
}
