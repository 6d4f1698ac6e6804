import ArgumentParser
import FoundationEssentials

/// The options of a command, taken from its own declaration.
struct CommandOptions {
    struct Option {
        /// The long name, without dashes.
        let name: String
        let isFlag: Bool
        /// Whether it may be given several times.
        let isRepeating: Bool
        /// As a heading of `--help`, up to a parenthesis and in lower case: `safety`. Nil under the general heading.
        let section: String?
        /// What it may be; nil where that is no list.
        let values: [String]?
    }

    /// In the order of `--help`.
    let options: [Option]
    /// What `--help` calls the command's positional arguments.
    let positionals: [String]

    init(_ command: any ParsableCommand.Type) {
        let dump = try! JSONDecoder().decode(Dump.self, from: Data(command._dumpHelp().utf8))
        let arguments = dump.command.arguments ?? []
        options = arguments.compactMap { argument in
            let name = argument.names?.first { $0.kind == "long" }?.name
            guard argument.kind != "positional", let name, !["help", "version"].contains(name) else { return nil }
            return Option(
                name: name, isFlag: argument.kind == "flag", isRepeating: argument.isRepeating ?? false,
                section: argument.sectionTitle.map(Self.section),
                values: argument.allValues)
        }
        positionals = arguments.filter { $0.kind == "positional" }.compactMap(\.valueName)
    }

    subscript(name: String) -> Option? { options.first { $0.name == name } }

    var sections: Set<String> { Set(options.compactMap(\.section)) }

    /// The name that a flag shares with its negation: `nesterov` for `no-nesterov` where there are both.
    func canonical(_ name: String) -> String {
        guard name.hasPrefix("no-") else { return name }
        let positive = String(name.dropFirst(3))
        return self[positive]?.isFlag == true ? positive : name
    }

    private static func section(_ title: String) -> String {
        let words = title.prefix { $0 != "(" }.lowercased().split(separator: " ")
        return words.joined(separator: "-")
    }

    /// What `_dumpHelp` writes, as far as it is needed here.
    private struct Dump: Decodable {
        struct Command: Decodable { let arguments: [Argument]? }
        struct Argument: Decodable {
            let kind: String
            let names: [Name]?
            let isRepeating: Bool?
            let sectionTitle: String?
            let valueName: String?
            let allValues: [String]?
        }
        struct Name: Decodable { let kind, name: String }
        let command: Command
    }
}

/// Of some names the one that is the fewest edits away; nil where there is none.
func nearest(_ word: String, of names: some Sequence<String>) -> String? {
    names.map { ($0, editDistance(word, $0)) }.min { ($0.1, $0.0) < ($1.1, $1.0) }?.0
}

/// Letters to insert, remove or replace (Levenshtein).
private func editDistance(_ one: String, _ other: String) -> Int {
    let (one, other) = (Array(one), Array(other))
    var row = Array(0...other.count)
    for (i, letter) in one.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, otherLetter) in other.enumerated() {
            let replaced = diagonal + (letter == otherLetter ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, diagonal + 1, row[j] + 1)
        }
    }
    return row[other.count]
}
