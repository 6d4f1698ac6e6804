import Training

/// Foresees how long the rest of a run takes, its evaluations included.
struct RunClock {
    /// Steps and epochs of the whole run; each epoch has an evaluation.
    private let steps, epochs, stepsPerEpoch: Int
    /// How often an epoch's evaluation goes through the test images, and the last one.
    private let passes: (each: Int, last: Int)
    /// How many steps a pass over the test images is worth, until one has been timed.
    private let passInSteps: Double
    /// Where the steps of each size of images end, counted from 0, with the work of one over that of a step with the
    /// network's size.
    private let phases: [(end: Int, work: Double)]
    private var timed = 0
    /// Of a step with images of the network's size.
    private var stepSeconds = 0.0
    private var passSeconds: Double?

    /// - Parameters:
    ///   - steps: of the whole run.
    ///   - stepsPerEpoch: of a whole epoch; the last one may be a part.
    ///   - testShare: test images per training image of an epoch.
    ///   - phases: the epochs before those whose images have the network's size, with the work of a step over that of one
    ///     with it.
    ///   - passes: how often an evaluation goes through the test images, and the last one.
    init(
        steps: Int, stepsPerEpoch: Int, testShare: Double, phases: [(epochs: Int, work: Double)] = [],
        passes: (each: Int, last: Int) = (1, 1)
    ) {
        self.passes = passes
        self.steps = steps
        self.stepsPerEpoch = stepsPerEpoch
        epochs = (steps - 1) / stepsPerEpoch + 1
        // A forward pass is a third of a step's work.
        passInSteps = Double(stepsPerEpoch) * testShare / 3
        var end = 0
        self.phases =
            phases.map { epochs, work in
                end = min(end + epochs * stepsPerEpoch, steps)
                return (end, work)
            } + [(steps, 1)]
    }

    /// The work of the steps from one on, counted from 0, to the end of the run, in steps of the network's size.
    private func work(from first: Int) -> Double {
        var (start, sum) = (first, 0.0)
        for (end, work) in phases where end > start {
            sum += Double(end - start) * work
            start = end
        }
        return sum
    }

    /// Counts a step, whose number is counted from 1: the mean of all at first, later of some fifty recent ones.
    mutating func stepped(_ step: Int, seconds: Double) {
        timed += 1
        let work = phases.first { step <= $0.end }?.work ?? 1
        stepSeconds += (seconds / work - stepSeconds) / Double(min(timed, 50))
    }

    /// Counts an evaluation, other than the last one; logs of older programs have no seconds for it.
    mutating func evaluated(seconds: Double) {
        if seconds.isFinite { passSeconds = seconds / Double(passes.each) }
    }

    /// Seconds to the end of the run; nil where no step was timed yet.
    func remaining(at progress: RunProgress) -> Double? {
        guard timed > 0 else { return nil }
        let isTraining = progress.phase == .training
        let done = isTraining ? (progress.epoch - 1) * stepsPerEpoch + progress.done : progress.epoch * stepsPerEpoch
        let evaluations = max(epochs - progress.epoch, 0) + 1
        let passesLeft = Double(evaluations * passes.each + passes.last - passes.each) - progress.passes
        return work(from: done) * stepSeconds + passesLeft * (passSeconds ?? passInSteps * stepSeconds)
    }
}
