import FoundationEssentials
import Support
import Training
import Yams

/// An option that a file gives.
struct ConfigEntry: Equatable {
    /// The option's long name, without dashes.
    let name: String
    /// As on the command line; `true` or `false` for a flag.
    let value: String
}

/// A file of options: YAML, of which JSON is a part, or the config.json of a run.
struct ConfigFile {
    /// As messages call it.
    let path: String
    private(set) var entries: [ConfigEntry] = []

    /// - Parameters:
    ///   - options: of the command that the file is for.
    ///   - others: options that the file may have, and the command does not; they are left out.
    /// - Throws: `Failure(.noInput)` or `Failure(.data)` where there is no such file or it is no YAML, `Failure(.usage)`
    ///   for a key or value that is none, with the nearest that is.
    init(path: String, for options: CommandOptions, others: CommandOptions) throws {
        let bytes = try InputFile.contents(of: path, atMost: 1 << 20)
        try self.init(path: path, text: String(decoding: bytes, as: UTF8.self), for: options, others: others)
    }

    /// As `init(path:for:others:)`, from the file's text.
    init(path: String, text: String, for options: CommandOptions, others: CommandOptions) throws {
        self.path = path
        guard let root = try Self.compose(text, path) else { return }
        guard let mapping = root.mapping else {
            throw Failure(.usage, "\(path): expected options and their values, as `epochs: 10`, a line each")
        }
        // In a file of options that is the name of a schedule.
        if mapping["schedule"]?.mapping != nil {
            let run = try RunConfiguration(path: path)
            try Self.requireKnownKeys(root, of: run, path)
            entries = try RunOptions.entries(of: run).filter { options[$0.name] != nil }
        } else {
            try add(mapping, options, others)
        }
    }

    private static func compose(_ text: String, _ path: String) throws -> Node? {
        do { return try Yams.compose(yaml: text) } catch {
            let lines = "\(error)".split(separator: "\n").prefix(1).joined()
            throw Failure(.data, "\(path): is no YAML: \(lines)")
        }
    }

    private mutating func add(
        _ mapping: Node.Mapping, _ options: CommandOptions, _ others: CommandOptions, section: String? = nil
    ) throws {
        let known = options.options.filter { $0.name != "config" }
        for (key, value) in mapping {
            guard let key = key.scalar?.string else { throw Failure(.usage, "\(path): a key is no text") }
            if section == nil, let inner = value.mapping {
                guard options.sections.union(others.sections).union(Self.formerSections).contains(key) else {
                    throw unknown("section", key, options.sections.sorted())
                }
                try add(inner, options, others, section: key)
                continue
            }
            let place = section.map { "\($0).\(key)" } ?? key
            guard let option = known.first(where: { $0.name == key }) else {
                if key != "config", others[key] != nil { continue }
                throw unknown("key", place, known.map(\.name), word: key)
            }
            guard let texts = try texts(of: value, for: option, place) else { continue }
            for text in texts { try require(text, for: option, place) }
            guard !entries.contains(where: { options.canonical($0.name) == options.canonical(key) }) else {
                throw Failure(.usage, "\(path): \(key) is given twice; leave one out")
            }
            entries += texts.map { ConfigEntry(name: key, value: option.isFlag ? "\(Self.truth[$0]!)" : $0) }
        }
    }

    /// Groups that `--help` had once; files have them still.
    private static let formerSections = ["threads", "precision", "watchdog"]

    private static let truth = ["true": true, "yes": true, "on": true, "false": false, "no": false, "off": false]

    /// As it would stand on the command line, once or for an option that may be repeated several times; nil for null.
    private func texts(of node: Node, for option: CommandOptions.Option, _ place: String) throws -> [String]? {
        switch node {
        case .scalar(let scalar):
            let isNull = scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
            return isNull ? nil : [scalar.string]
        case .sequence(let list):
            let words = try list.map { item in
                guard let word = item.scalar?.string else { throw noValue(place) }
                return word
            }
            return option.isRepeating ? words : [words.joined(separator: ",")]
        default: throw noValue(place)
        }
    }

    private func noValue(_ place: String) -> Failure {
        Failure(.usage, "\(path): the value of \(place) is neither a value nor a list of values")
    }

    private func require(_ text: String, for option: CommandOptions.Option, _ place: String) throws {
        guard let values = option.isFlag ? ["true", "false"] : option.values else { return }
        guard !values.contains(text), !(option.isFlag && Self.truth[text] != nil) else { return }
        throw Failure(
            .usage,
            "\(path): '\(text)' is no value of \(place); expected \(values.joined(separator: ", "))"
                + (nearest(text, of: values).map { "; did you mean \($0)?" } ?? ""))
    }

    private func unknown(_ kind: String, _ place: String, _ names: [String], word: String? = nil) -> Failure {
        Self.unknown(path, kind, place, names, word: word ?? place)
    }

    private static func unknown(
        _ path: String, _ kind: String, _ place: String, _ names: [String], word: String
    ) -> Failure {
        Failure(
            .usage,
            "\(path): unknown \(kind) \(place)" + (nearest(word, of: names).map { "; did you mean \($0)?" } ?? ""))
    }

    /// Refuses keys of a config.json that this program would not write: decoding passes over them.
    private static func requireKnownKeys(_ root: Node, of run: RunConfiguration, _ path: String) throws {
        let written = String(decoding: try JSONEncoder().encode(run), as: UTF8.self)
        func compare(_ found: Node, _ known: Node?, _ place: String) throws {
            guard let found = found.mapping else { return }
            let names = known?.mapping?.keys.compactMap { $0.scalar?.string } ?? []
            for (key, value) in found {
                let (key, isNull) = (key.scalar?.string ?? "", value.scalar?.string == "null")
                guard names.contains(key) || isNull else { throw unknown(path, "key", place + key, names, word: key) }
                try compare(value, known?.mapping?[key], "\(place)\(key).")
            }
        }
        try compare(root, try Yams.compose(yaml: written), "")
    }
}
