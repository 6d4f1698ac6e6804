import Training

/// Foresees how long the rest of a run takes, its evaluations included.
struct RunClock {
    /// Steps and epochs of the whole run; each epoch has an evaluation.
    private let steps, epochs, stepsPerEpoch: Int
    /// How many steps an evaluation is worth, until one has been timed.
    private let evaluationInSteps: Double
    private var timed = 0
    private var stepSeconds = 0.0
    private var evaluationSeconds: Double?

    /// - Parameters:
    ///   - steps: of the whole run.
    ///   - stepsPerEpoch: of a whole epoch; the last one may be a part.
    ///   - testShare: test images per training image of an epoch.
    init(steps: Int, stepsPerEpoch: Int, testShare: Double) {
        self.steps = steps
        self.stepsPerEpoch = stepsPerEpoch
        epochs = (steps - 1) / stepsPerEpoch + 1
        // A forward pass is a third of a step's work.
        evaluationInSteps = Double(stepsPerEpoch) * testShare / 3
    }

    /// Counts a step: the mean of all at first, later of some fifty recent ones.
    mutating func stepped(seconds: Double) {
        timed += 1
        stepSeconds += (seconds - stepSeconds) / Double(min(timed, 50))
    }

    /// Counts an evaluation; logs of older programs have no seconds for it.
    mutating func evaluated(seconds: Double) {
        if seconds.isFinite { evaluationSeconds = seconds }
    }

    /// Seconds to the end of the run; nil where no step was timed yet.
    func remaining(at progress: RunProgress) -> Double? {
        guard timed > 0 else { return nil }
        let isTraining = progress.phase == .training
        let done = isTraining ? (progress.epoch - 1) * stepsPerEpoch + progress.done : progress.epoch * stepsPerEpoch
        let evaluation = isTraining ? 1 : 1 - Double(progress.done) / Double(max(progress.total, 1))
        return Double(max(steps - done, 0)) * stepSeconds
            + (Double(max(epochs - progress.epoch, 0)) + evaluation)
            * (evaluationSeconds ?? evaluationInSteps * stepSeconds)
    }
}
