import Training

/// How much of a run goes into its event files: a function of the run's length, so that long runs stay small.
package struct EventPlan: Sendable {
    /// Points of steps that a run has at most, unless it has more epochs: each has one at least.
    static let points = 2_000
    /// Pictures of a tag that a run has at most.
    static let pictures = 50

    let stepsPerEpoch: Int
    /// That the run goes through, the last one perhaps in part.
    let epochs: Int
    /// Of the whole run.
    let steps: Int
    private let checkpointSteps: Int?
    /// A point stands for so many steps, the last of an epoch for fewer.
    let interval: Int

    package init(epochs: Int, stepsPerEpoch: Int, steps: Int? = nil, checkpointSteps: Int? = nil) {
        self.stepsPerEpoch = stepsPerEpoch
        self.steps = min(steps ?? .max, epochs * stepsPerEpoch)
        self.epochs = (self.steps - 1) / stepsPerEpoch + 1
        self.checkpointSteps = checkpointSteps
        let pointsPerEpoch = max(Self.points / self.epochs, 1)
        interval = (min(stepsPerEpoch, self.steps) - 1) / pointsPerEpoch + 1
    }

    init(_ configuration: RunConfiguration, stepsPerEpoch: Int) {
        self.init(
            epochs: configuration.epochs, stepsPerEpoch: stepsPerEpoch, steps: configuration.steps,
            checkpointSteps: configuration.faults.checkpointSteps)
    }

    /// Points of an epoch, and one more for a stop within.
    var pointsPerEpoch: Int { (stepsPerEpoch - 1) / interval + 2 }

    private func endsEpoch(_ step: Int) -> Bool { step % stepsPerEpoch == 0 || step == steps }

    /// Whether a step, counted from 1 over the run, is the last of a point.
    func endsPoint(_ step: Int) -> Bool { ((step - 1) % stepsPerEpoch + 1) % interval == 0 || endsEpoch(step) }

    /// Whether a checkpoint follows a step. A run that is resumed from it does not repeat what comes before.
    func precedesCheckpoint(_ step: Int) -> Bool {
        endsEpoch(step) || checkpointSteps.map { step % $0 == 0 } ?? false
    }

    /// Whether an epoch, counted from 1, has a picture.
    func hasPicture(_ epoch: Int) -> Bool { epoch % ((epochs - 1) / Self.pictures + 1) == 0 || epoch == epochs }
}
