import ArgumentParser
import Training

/// What a run's options and weights are taken from.
struct RecipeOptions: ParsableArguments {
    @OptionGroup var file: ConfigOptions

    @Option(
        help: ArgumentHelp(
            "Take options from a recipe that comes with the program (default: none). Options given here, or by --config, win.",
            valueName: "name"))
    var recipe: Recipe?

    @Option(
        name: .customLong("init"),
        help: ArgumentHelp(
            "Start from the weights of a safetensors or .pth file (default: from random ones).", valueName: "file"),
        completion: .file())
    var initialWeights: String?

    /// Sets what is given.
    func apply(to run: inout RunConfiguration) {
        if let initialWeights, !isSameFile(initialWeights, run.initialWeights) { run.initialWeights = initialWeights }
    }
}
