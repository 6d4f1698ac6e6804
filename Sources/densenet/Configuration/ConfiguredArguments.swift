import ArgumentParser
import Support

/// The option that names a file of options. The file is read before the command line is parsed.
struct ConfigOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Read options from a YAML or JSON file, by their long names, or from a run's config.json (default: none). Options given here win.",
            valueName: "file"), completion: .file(extensions: ["yaml", "yml", "json"]))
    var config: String?
}

/// The words of a command line with the options that `--config` and `--recipe` bring, each where the user did not give
/// it.
struct ConfiguredArguments {
    /// The command, options of files, then the user's own.
    private(set) var words: [String]
    /// The options of files that are among them, with the file.
    private var added: [(file: String, entry: ConfigEntry)] = []
    private let options: CommandOptions
    /// What is given so far, by the user or a file, with its value.
    private var given: [String: String]

    /// - Throws: as `ConfigFile`.
    init(_ words: [String], for command: any ParsableCommand.Type) throws {
        self.words = words
        options = CommandOptions(command)
        given = Self.given(words.dropFirst(), options)
        guard options["config"] != nil, !words.contains("--help"), !words.contains("-h") else { return }
        let train = CommandOptions(Train.self)
        if let path = given["config"] { add(try ConfigFile(path: path, for: options, others: train)) }
        if options["recipe"] != nil, let recipe = given["recipe"].flatMap(Recipe.init) {
            let text = recipe.text { given[$0] }
            add(try ConfigFile(path: "--recipe \(recipe)", text: text, for: options, others: train))
        }
        self.words.insert(contentsOf: added.compactMap { word(for: $0.entry) }, at: 1)
    }

    /// Adds what neither the user nor a file before this has given, nor an option that excludes it.
    private mutating func add(_ file: ConfigFile) {
        let before = given
        for entry in file.entries {
            let name = options.canonical(entry.name)
            let excluding = Self.exclusions.filter { $0.value.contains(name) }.keys
            guard before[name] == nil, excluding.allSatisfy({ before[$0] == nil }) else { continue }
            added.append((file.path, entry))
            given[name] = entry.value
        }
    }

    /// Options that take the place of others of a file.
    private static let exclusions: [String: Set<String>] = [
        "model": ["blocks", "growth-rate", "stem", "stem-stride", "stem-channels", "no-bottleneck", "compression"],
        "blocks": ["model"], "schedule": ["milestones"], "milestones": ["schedule"], "normalize": ["mean", "std"],
        "mean": ["normalize"], "std": ["normalize"],
    ]

    private func word(for entry: ConfigEntry) -> String? {
        guard options[entry.name]?.isFlag == true else { return "--\(entry.name)=\(entry.value)" }
        if entry.value == "true" { return "--\(entry.name)" }
        let name = options.canonical(entry.name)
        if name != entry.name { return "--\(name)" }
        return options["no-\(name)"].map { "--\($0.name)" }
    }

    /// What the user has given, with its value; positional arguments by the names that `--help` has for them.
    private static func given(_ words: ArraySlice<String>, _ options: CommandOptions) -> [String: String] {
        var (given, rest) = ([String: String](), words)
        while let word = rest.popFirst(), word != "--" {
            guard word.hasPrefix("--") else {
                if let name = options.positionals.first { given[name] = word }
                continue
            }
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = parts.first.map(String.init) ?? ""
            let hasValue = parts.count == 1 && options[name]?.isFlag == false
            given[options.canonical(name)] = hasValue ? rest.popFirst() ?? "" : parts.last.map(String.init) ?? ""
        }
        return given
    }

    /// The parser's error, with the file where it is about an option of one.
    func explained(_ error: any Error) -> any Error {
        let message = Densenet.message(for: error)
        let found = added.first { message.contains("'--\($0.entry.name) ") || message.contains("'--\($0.entry.name)'") }
        guard let found, Densenet.exitCode(for: error) == .validationFailure else { return error }
        return Failure(.usage, "\(found.file): \(found.entry.name): \(Densenet.oneLine(error)); see densenet --help")
    }
}
