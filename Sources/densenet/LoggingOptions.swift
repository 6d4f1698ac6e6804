import ArgumentParser
import Support

/// How much a command says on its way.
struct LoggingOptions: ParsableArguments {
    @Flag(help: "Print warnings, errors and the result only.")
    var quiet = false

    @Flag(help: "Print more: where each rank runs, and where the time goes.")
    var verbose = false

    @Option(
        help: ArgumentHelp(
            "Where output goes to no terminal, print a line every N steps (default: each tenth of an epoch, as long as the log stays under 100 KB a day).",
            valueName: "steps"))
    var logEvery: Int?

    func validate() throws {
        guard !quiet || !verbose else { throw ValidationError("--quiet and --verbose contradict each other") }
        if let logEvery, logEvery < 1 { throw ValidationError("--log-every is \(logEvery), expected 1 or more steps") }
    }

    /// What is given, for `--config`.
    var entries: [ConfigEntry] {
        var list: [ConfigEntry] = []
        if quiet { list.append(ConfigEntry(name: "quiet", value: "true")) }
        if verbose { list.append(ConfigEntry(name: "verbose", value: "true")) }
        if let logEvery { list.append(ConfigEntry(name: "log-every", value: "\(logEvery)")) }
        return list
    }
}

/// `LoggingOptions`, and what `train` alone can log.
struct TrainLoggingOptions: ParsableArguments {
    @OptionGroup var output: LoggingOptions

    @Option(
        help: ArgumentHelp(
            "Add a line of every N steps to metrics.jsonl, with the next checkpoint (default: a line an epoch).",
            valueName: "steps"))
    var stepMetrics: Int?

    var entries: [ConfigEntry] {
        output.entries + (stepMetrics.map { [ConfigEntry(name: "step-metrics", value: "\($0)")] } ?? [])
    }
}
