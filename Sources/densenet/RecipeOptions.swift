import ArgumentParser

/// What a run's options are taken from.
struct RecipeOptions: ParsableArguments {
    @OptionGroup var file: ConfigOptions

    @Option(
        help: ArgumentHelp(
            "Take options from a recipe that comes with the program (default: none). Options given here, or by --config, win.",
            valueName: "name"))
    var recipe: Recipe?
}
