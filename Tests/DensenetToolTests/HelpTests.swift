import ArgumentParser
import FoundationEssentials
import TestSupport
import Testing

@testable import DensenetTool

/// What `--help`, completion and the manual pages say of each command.
@Suite struct HelpTests {
    static let commands = Densenet.configuration.subcommands

    /// As on a terminal of 80 columns.
    private func help(_ command: any ParsableCommand.Type) -> [Substring] {
        Densenet.helpMessage(for: command, columns: 80).split(separator: "\n", omittingEmptySubsequences: false)
    }

    /// The command lines in a discussion: those that are indented, with the lines that a backslash continues them in.
    private func examples(_ command: any ParsableCommand.Type) -> [String] {
        command.configuration.discussion.replacing(/[ ]*\\\n[ ]*/, with: " ").split(separator: "\n")
            .filter { $0.hasPrefix("  ") }.map { $0.trimmingPrefix { $0 == " " } }.map(String.init)
    }

    @Test(arguments: commands.indices)
    func `every option stands in a group, in lines that fit a terminal`(_ index: Int) {
        let lines = help(Self.commands[index])
        let general = lines.drop { $0 != "OPTIONS:" }.filter { !$0.isEmpty }
        let names = general.dropFirst().map { String($0.prefix(18)) }
        #expect(names == ["  --version       ", "  -h, --help      "])
        // Manual pages lose what is not ASCII.
        #expect(lines.filter { $0.count > 80 || $0.utf8.count > $0.count } == [])
    }

    @Test(arguments: commands.indices)
    func `every option says what holds without it, and its value has a name that says something`(_ index: Int) throws {
        let data = Data(Self.commands[index]._dumpHelp().utf8)
        for argument in try JSONDecoder().decode(Dump.self, from: data).command.arguments ?? [] {
            let name = argument.preferredName?.name ?? argument.valueName ?? ""
            let words = argument.abstract ?? ""
            #expect(words.hasSuffix("."), "\(name): \(words)")
            guard argument.kind == "option" else { continue }
            #expect(argument.valueName != name, "\(name)")
            #expect(
                words.contains("default") || words.hasSuffix("Required.") || argument.defaultValue != nil,
                "\(name): \(words)")
        }
    }

    /// What the parser says of a command for other programs, as far as it is needed here.
    private struct Dump: Decodable {
        struct Command: Decodable { let arguments: [Argument]? }
        struct Argument: Decodable {
            let kind: String
            let preferredName: Name?
            let valueName, abstract, defaultValue: String?
        }
        struct Name: Decodable { let name: String }
        let command: Command
    }

    @Test(arguments: commands.indices)
    func `three examples are printed whole, and are what the command takes`(_ index: Int) throws {
        let command = Self.commands[index]
        let examples = examples(command)
        #expect(examples.count == 3, "\(command)")
        let printed = help(command)
        // Manual pages indent them by five more.
        let lines = command.configuration.discussion.split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("  ") && $0.count > 73 } == [])
        for line in lines {
            #expect(printed.contains { $0.hasSuffix(line) }, "\(line)")
        }
        for example in examples {
            let match = try #require(
                example.wholeMatch(of: /([A-Z_]+=\w+ )?\.\/launch\.sh (-n [1-9] )?([^>]*?)( > .*)?/))
            let words = match.3.split(separator: " ").map(String.init)
            #expect(words.first == command._commandName, "\(example)")
            let parsed = try Densenet.parse(words)
            #expect(type(of: parsed) == command, "\(example)")
        }
    }

    @Test func `the program's own help has the commands in groups, and an example`() throws {
        let lines = help(Densenet.self)
        #expect(lines.filter { $0.count > 80 || $0.utf8.count > $0.count } == [])
        #expect(!lines.contains("SUBCOMMANDS:"))
        for command in Self.commands { #expect(lines.contains { $0.hasPrefix("  \(command._commandName) ") }) }
        for example in examples(Densenet.self) {
            let words = try #require(example.wholeMatch(of: /\.\/launch\.sh( -n 2)? ?(.*)/)).2
            _ = try Densenet.parse(words.split(separator: " ").map(String.init))
        }
    }

    @Test(arguments: commands.indices)
    func `a file of options has the groups as sections`(_ index: Int) throws {
        let train = CommandOptions(Train.self)
        let options = CommandOptions(Self.commands[index])
        for option in options.options where option.name != "config" {
            let value = option.isFlag ? "true" : option.values?.first ?? "x"
            let text = "\(try #require(option.section)):\n  \(option.name): \(value)"
            let file = try ConfigFile(path: "file", text: text, for: options, others: train)
            #expect(file.entries == [ConfigEntry(name: option.name, value: value)])
        }
    }

    @Test func `sections of earlier programs are read`() throws {
        let train = CommandOptions(Train.self)
        let text =
            "safety:\n  keep: 2\nthreads: {threads: 1}\nprecision: {precision: f32}\nwatchdog: {collective-timeout: 9}"
        let file = try ConfigFile(path: "file", text: text, for: train, others: train)
        #expect(file.entries.map(\.name) == ["keep", "threads", "precision", "collective-timeout"])
    }

    @Test func `the groups of train follow how one thinks of a run`() {
        var sections: [String] = []
        for option in CommandOptions(Train.self).options where sections.last != option.section {
            sections.append(option.section ?? "")
        }
        #expect(
            sections == [
                "recipe", "network", "fine-tuning", "data", "batch-and-schedule", "optimizer", "run-folder", "safety",
                "logging", "speed", "plan",
            ])
    }

    @Test(arguments: CompletionShell.allCases)
    func `completion scripts have the commands, values and kinds of files, but not what launch.sh alone calls`(
        _ shell: CompletionShell
    ) {
        let script = Densenet.completionScript(for: shell)
        for command in Self.commands { #expect(script.contains(command._commandName)) }
        for word in ["densenet-bc-100-12", "one-cycle", "pixel-mean", "crop,flip"] { #expect(script.contains(word)) }
        #expect(!script.contains("launch-plan") && !script.contains("post-mortem"))
        #expect(!Densenet._dumpHelp().contains("launch-plan"))
    }

    /// What bash offers for the last of some words.
    private func completions(_ words: String..., among files: String) throws -> [String] {
        let scratch = ScratchFolder()
        let script = try scratch.write(Array(Densenet.completionScript(for: .bash).utf8), to: "densenet.bash")
        let line = """
            source "$1"; cd "$2" && touch \(files) && mkdir folder; shift 2
            COMP_WORDS=(densenet "$@") COMP_CWORD=$# COMP_LINE="densenet $*"; COMP_POINT=${#COMP_LINE}
            _densenet densenet "${@: -1}" "${@: -2:1}"
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        let job = try run("bash", ["-c", line, "bash", script, scratch.path] + words)
        try #require(job.status == 0 && job.errors == "", "\(job.errors)")
        return job.output.split { $0.isWhitespace }.map(String.init).sorted()
    }

    @Test func `bash completes commands, options, values, files and folders`() throws {
        let files = "a.yaml b.bin"
        #expect(try completions("e", among: files) == ["env", "evaluate", "export"])
        #expect(try completions("train", "--checkpoint", among: files) == ["--checkpoint-steps"])
        #expect(
            try completions("train", "--schedule", "", among: files) == [
                "constant", "cosine", "linear", "one-cycle", "step", "triangle",
            ])
        #expect(try completions("train", "--augment", "crop,flip,j", among: files) == ["crop,flip,jitter"])
        #expect(try completions("bench", "--model", "densenet2", among: files) == ["densenet201", "densenet264"])
        #expect(try completions("train", "--data", "", among: files) == ["folder"])
        #expect(try completions("train", "--config", "a", among: files) == ["a.yaml"])
        #expect(
            try completions("evaluate", "--weights", "", among: files) == [
                "a.yaml", "b.bin", "densenet.bash", "folder",
            ])
        #expect(try completions("export", "--to", "p", among: files) == ["pytorch"])
    }

    @Test func `what launch.sh alone calls is parsed all the same`() throws {
        let plan = try Densenet.parse(["launch-plan", "2", "0", "none", "train", "--help", "--out=x"])
        #expect((plan as? LaunchPlan)?.words == ["train", "--help", "--out=x"] && (plan as? LaunchPlan)?.ranks == 2)
        #expect(try Densenet.parse(["post-mortem", "--memory-kills", "2", "--", "137", "run"]) is PostMortemOfRun)
    }
}
