import ArgumentParser
import DenseNetModel
import Training

/// The weights that a run starts from, and what of them learns.
struct FineTuningOptions: ParsableArguments {
    @Option(
        name: .customLong("init"),
        help: ArgumentHelp(
            "Start from the weights of a safetensors or .pth file (default: from random ones). A classifier for other classes begins anew.",
            valueName: "file"), completion: .file())
    var initialWeights: String?

    @Flag(help: "With --init: refuse a classifier for another number of classes.")
    var initStrict = false

    @Option(
        help: ArgumentHelp(
            "Parts that do not learn: stem, block1, transition1, block2, ..., norm, classifier, or features, all but the classifier (default: none).",
            valueName: "part,part,..."), transform: networkParts)
    var freeze: [NetworkPart]?

    @Flag(
        help:
            "Frozen parts work as in evaluation: norms by their running statistics, which stay, and no dropout. These parts come before all that learns."
    )
    var freezeNorm = false

    @Option(
        help: ArgumentHelp(
            "Highest learning rates of parts, such as block4=0.001,classifier=0.01 (default: --learning-rate).",
            valueName: "part=rate,..."), transform: partRates)
    var learningRateOf: PartRates?

    /// Sets what is given.
    func apply(to run: inout RunConfiguration) {
        if let initialWeights, !isSameFile(initialWeights, run.initialWeights) { run.initialWeights = initialWeights }
        run.fineTuning.initStrict = initStrict || run.fineTuning.initStrict
        run.fineTuning.freeze = freeze ?? run.fineTuning.freeze
        run.fineTuning.freezeNorm = freezeNorm || run.fineTuning.freezeNorm
        run.fineTuning.learningRateOf = learningRateOf ?? run.fineTuning.learningRateOf
    }
}
