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
    ///   - views: what of each image the network sees in a further evaluation; the image alone for none.
    ///   - wantsStop: as `Evaluator.run` has it.
    ///   - advanced: called after each batch with the phase, how often all images were gone through before it, the batches
    ///     of it that are done, and its mean loss and accuracy so far.
    /// - Returns: nil on all ranks once any rank has asked to stop.
    init?(
        _ evaluator: Evaluator, _ step: TrainingStep, views: Evaluator.Views, stopping wantsStop: () -> Bool,
        advanced: (RunProgress.Phase, _ passesBefore: Int, _ done: Int, _ loss: Double, _ accuracy: Double) -> Void
    ) throws {
        let flips: [RunProgress.Phase] = views == .image ? [] : [.flippedEvaluation, .averageFlippedEvaluation]
        var (passes, results): (Int, [RunProgress.Phase: Evaluation]) = (0, [:])
        for phase in [.evaluation, .averageEvaluation] + flips where step.average != nil || !phase.isOfAverage {
            func run() throws -> Evaluation? {
                try evaluator.run(
                    views: phase.passes == 1 ? .image : views, stopping: wantsStop,
                    advanced: { advanced(phase, passes, $0, $1, $2) })
            }
            results[phase] = phase.isOfAverage ? try step.withAverage(run) ?? nil : try run()
            guard results[phase] != nil else { return nil }
            passes += phase.passes
        }
        func result(_ phase: RunProgress.Phase) -> TestResult? {
            results[phase].map { TestResult($0.loss, $0.accuracy) }
        }
        guard let test = results[.evaluation] else { return nil }
        self.test = test
        average = result(.averageEvaluation)
        flipped = result(.flippedEvaluation)
        averageFlipped = result(.averageFlippedEvaluation)
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
