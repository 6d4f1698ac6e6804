import ArgumentParser

/// The weights that a command works with.
struct WeightsOptions: ParsableArguments {
    @Option(
        name: .customLong("weights"),
        help: ArgumentHelp(
            "Weights (safetensors or .pth, ours or PyTorch's), a checkpoint, or a run folder: its result, or its newest checkpoint. Required.",
            valueName: "file|run"), completion: .file())
    var path: String
}
