/// How far a run is.
extension TrainingRun {
    /// The epoch in progress, counted from 1.
    public var epoch: Int { state.epoch }
    /// Steps of it that are done.
    public var stepInEpoch: Int { state.stepInEpoch }
    /// Whether a step was done before this start.
    public var isResumed: Bool { state != RunState() }
    /// Steps of a whole epoch.
    public var stepsPerEpoch: Int { sampler.stepsPerEpoch }

    /// What a message on the end of a run says last.
    package static func resumeAdvice(_ path: String) -> String { "resume with: `resuming` \(path)" }

    /// Steps that are done of the whole run.
    package var stepsDone: Int { state.step(stepsPerEpoch) }
    /// Steps that the whole run is to have.
    package var steps: Int { min(configuration.epochs * stepsPerEpoch, configuration.steps ?? .max) }

    /// Whether all epochs, or all steps that the configuration allows, are done and evaluated.
    package var isFinished: Bool {
        state.epoch > configuration.epochs || earlyStop.hasEnded
            || state.stepInEpoch == 0 && state.step(stepsPerEpoch) >= configuration.steps ?? .max
    }

    /// Whether the epoch in progress lacks no step, only its evaluation.
    package var epochIsTrained: Bool { state.isTrained(stepsPerEpoch: stepsPerEpoch, steps: configuration.steps) }
}
