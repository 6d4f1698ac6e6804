import Support

/// What the network makes of the test images after an epoch.
struct EpochEvaluation {
    /// By the weights, of the images as they are.
    let test: Evaluation
    /// By the moving average of the weights, where there is one.
    let average: TestResult?
    /// Of images and their mirror images, where these are asked for.
    let flipped, averageFlipped: TestResult?

    /// Goes through all images as often as that takes. Collective.
    ///
    /// - Parameters:
    ///   - evaluator: of the network that `step` trains.
    ///   - furtherViews: called with the result that decides; what of each image the network sees in a further
    ///     evaluation, the image alone for none. Collective.
    ///   - wantsStop: as `Evaluator.run` has it.
    ///   - advanced: called after each batch with the phase, how often all images were gone through before it, the batches
    ///     of it that are done, and its mean loss and accuracy so far.
    /// - Returns: nil on all ranks once any rank has asked to stop.
    init?(
        _ evaluator: Evaluator, _ step: TrainingStep, furtherViews: (TestResult) throws -> Evaluator.Views,
        stopping wantsStop: () -> Bool,
        advanced: (RunProgress.Phase, _ passesBefore: Int, _ done: Int, _ loss: Double, _ accuracy: Double) -> Void
    ) throws {
        var passes = 0
        func evaluate(_ phase: RunProgress.Phase, _ views: Evaluator.Views) throws -> Evaluation? {
            func run() throws -> Evaluation? {
                try evaluator.run(
                    views: views, stopping: wantsStop, advanced: { advanced(phase, passes, $0, $1, $2) })
            }
            defer { passes += phase.passes }
            return phase.isOfAverage ? try step.withAverage(run) ?? nil : try run()
        }
        let hasAverage = step.average != nil
        guard let test = try evaluate(.evaluation, .image) else { return nil }
        let average = hasAverage ? try evaluate(.averageEvaluation, .image) : nil
        guard !hasAverage || average != nil else { return nil }
        let views = try furtherViews(TestResult(average ?? test))
        var (flipped, averageFlipped): (Evaluation?, Evaluation?)
        if views != .image {
            flipped = try evaluate(.flippedEvaluation, views)
            guard flipped != nil else { return nil }
            averageFlipped = hasAverage ? try evaluate(.averageFlippedEvaluation, views) : nil
            guard !hasAverage || averageFlipped != nil else { return nil }
        }
        self.test = test
        self.average = average.map { TestResult($0) }
        self.flipped = flipped.map { TestResult($0) }
        self.averageFlipped = averageFlipped.map { TestResult($0) }
    }
}

extension RunProgress.Phase {
    var isOfAverage: Bool { self == .averageEvaluation || self == .averageFlippedEvaluation }

    /// How often it goes through the test images: an image and its mirror image are two.
    var passes: Int {
        switch self {
        case .training: 0
        case .evaluation, .averageEvaluation: 1
        case .flippedEvaluation, .averageFlippedEvaluation: 2
        }
    }
}
