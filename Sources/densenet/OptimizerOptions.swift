import ArgumentParser
import Training

/// What a step makes of the gradients.
struct OptimizerOptions: ParsableArguments {
    private static let defaults = RunConfiguration.standard

    @Option(
        help: ArgumentHelp(
            "The share of the last step that the next one keeps, 0 to 1 (default: \(defaults.optimizer.momentum)).",
            valueName: "share"))
    var momentum: Double?

    @Flag(inversion: .prefixedNo, help: "Nesterov's momentum (default: on).")
    var nesterov: Bool?

    @Option(
        help: ArgumentHelp(
            "What a weight adds to its gradient, as a share of itself (default: \(defaults.optimizer.weightDecay)).",
            valueName: "share"))
    var weightDecay: Double?

    @Flag(inversion: .prefixedNo, help: "Whether norms and biases decay too (default: they do).")
    var decayNorm: Bool?

    @Option(
        help: ArgumentHelp(
            "The share of the target spread over all classes, 0 to 1 (default: \(defaults.labelSmoothing)).",
            valueName: "share"))
    var labelSmoothing: Double?

    @Option(
        help: ArgumentHelp(
            "What each class counts for in the training loss: balanced, the less the more images it has, or a file of lines class,weight (default: all count the same).",
            valueName: "balanced|file"), completion: .file())
    var classWeights: String?

    @Option(
        help: ArgumentHelp(
            "What a new batch counts for in the running statistics of norms, above 0 and up to 1 (default: \(defaults.normMomentum)).",
            valueName: "share"))
    var normMomentum: Double?

    @Option(
        help: ArgumentHelp(
            "Keep a moving average of the weights, of which a step leaves this share, such as 0.999; it is evaluated too and decides which epoch is best (default: no average).",
            valueName: "share"))
    var ema: Double?

    /// Sets what is given.
    func apply(to run: inout RunConfiguration) {
        run.optimizer.momentum = momentum ?? run.optimizer.momentum
        run.optimizer.nesterov = nesterov ?? run.optimizer.nesterov
        run.optimizer.weightDecay = weightDecay ?? run.optimizer.weightDecay
        run.optimizer.decaysNorms = decayNorm ?? run.optimizer.decaysNorms
        run.labelSmoothing = labelSmoothing ?? run.labelSmoothing
        if let classWeights {
            let path = classWeights == "\(ClassWeights.balanced)" ? nil : classWeights
            // A run that is resumed keeps the weights that it began with.
            if run.classWeights == nil || !isSameFile(path, run.classWeights?.path) {
                run.classWeights = ClassWeights(path: path)
            }
        }
        run.normMomentum = normMomentum ?? run.normMomentum
        run.averageDecay = ema ?? run.averageDecay
    }
}
