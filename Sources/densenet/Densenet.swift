import ArgumentParser
import DataParallel
import Glibc
import Support
import Training

/// The program: one struct a command.
@main
struct Densenet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "densenet",
        abstract: "Trains DenseNets on CPUs, data-parallel over MPI ranks.",
        discussion: """
            Started by mpirun, all ranks work on one job; started directly, the program is
            one rank. launch.sh starts it either way, and takes the same words.

            A first run, on synthetic images; one on CIFAR-10; and what came of it:
              ./launch.sh
              ./launch.sh -n 2 train --data cifar10 --out runs/first
              ./launch.sh -n 2 evaluate --weights runs/first --data cifar10

            Exit codes: 64 usage, 65 data, 66 no input, 69 unavailable, 70 internal,
            75 stopped and resumable.
            """,
        version: "densenet 0.1.0",
        groupedSubcommands: [
            CommandGroup(
                name: "Training",
                subcommands: [
                    Fetch.self, Scan.self, Describe.self, Train.self, Evaluate.self, ReportCommand.self, Predict.self,
                    Export.self,
                ]),
            CommandGroup(name: "Machine", subcommands: [Verify.self, Bench.self, Plan.self, Environment.self]),
            CommandGroup(name: "Synthetic data", subcommands: [Synthesize.self]),
        ])

    /// Those that launch.sh calls: completion and manuals would list them if the parser knew them.
    private static let hiddenCommands: [any ParsableCommand.Type] = [LaunchPlan.self, PostMortemOfRun.self]

    static func main() {
        saveAddressSpace()
        // A file that may not grow is an error in words.
        signal(SIGXFSZ, SIG_IGN)
        // So is a reader of our output that is gone.
        signal(SIGPIPE, SIG_IGN)
        do {
            try requireText()
            var command = try parse(Array(arguments))
            try command.run()
        } catch let failure as Failure {
            end(Launcher.exitCode(failure.kind.rawValue), saying: withOptionNames(failure.message))
        } catch {
            let code = exitCode(for: error).rawValue
            // Help and version are asked for; they are no failures.
            if code == 0 { end(0, printing: fullMessage(for: error)) }
            // The parser takes a negative number for an option.
            let apart = zip(arguments, arguments.dropFirst()).first {
                $0.hasPrefix("--") && $1.hasPrefix("-") && Double($1) != nil
            }
            end(code, saying: oneLine(error) + (apart.map { "; write \($0)=\($1)" } ?? "") + "; see densenet --help")
        }
    }

    /// The parser's message on an error. It lists more than four values in lines of their own.
    static func oneLine(_ error: any Error) -> String {
        message(for: error)
            .replacing(/the following:((?:\n  - .+)+)/) { match in
                match.1.split(separator: "\n").map { "'\($0.dropFirst(4))'" }.joined(separator: ", ")
            }
            .split(separator: "\n").map { $0.hasSuffix(".") ? $0.dropLast() : $0 }.joined(separator: "; ")
    }

    /// - Throws: `Failure(.usage)` for a word that is no command, since the parser would call the options after it
    ///   unknown; what reading the file of `--config` throws; the parser's errors.
    static func parse(_ words: [String]) throws -> any ParsableCommand {
        if let hidden = hiddenCommands.first(where: { $0._commandName == words.first }) {
            return try hidden.parseAsRoot(Array(words.dropFirst()))
        }
        let commands = configuration.subcommands
        if let word = words.first, !word.hasPrefix("-"), word != "help",
            !commands.contains(where: { $0._commandName == word })
        {
            let names = commands.map { $0._commandName }.joined(separator: ", ")
            throw Failure(.usage, "'\(word)' is no command; there are \(names); see densenet --help")
        }
        guard let command = commands.first(where: { $0._commandName == words.first }) else {
            return try parseAsRoot(words)
        }
        let arguments = try ConfiguredArguments(words, for: command)
        do { return try parseAsRoot(arguments.words) } catch { throw arguments.explained(error) }
    }

    private static var arguments: ArraySlice<String> { CommandLine.arguments.dropFirst() }

    /// Refuses arguments that are not UTF-8 before anything is done with them: as text they would lead to another file.
    private static func requireText() throws {
        for index in 1..<max(1, Int(CommandLine.argc)) {
            guard let bytes = CommandLine.unsafeArgv[index], String(validatingCString: bytes) == nil else { continue }
            let text = String(cString: bytes)
            let option = [text, CommandLine.arguments[index - 1]].first { $0.hasPrefix("--") }?.prefix { $0 != "=" }
            throw Failure(
                .usage,
                "\(option.map { "the value of \($0)" } ?? "an argument") is not UTF-8: \(text); use another name for it"
            )
        }
    }

    /// Ends a process that has found, before MPI, what in general all ranks find: rank zero alone speaks.
    private static func end(_ code: Int32, printing text: String = "", saying message: String? = nil) -> Never {
        if let rank = MPIEnvironment.launchedRank, rank > 0 {
            if code != 0 {
                // mpirun ends all ranks when the first exits with a code: rank zero first, whose end a signal
                // announces. Who is left in peace is alone with it.
                if usleep(2_000_000) == 0, let message { Console.note("rank \(rank): \(message)") }
            }
            Glibc.exit(code)
        }
        if let message { Console.note(message) } else { print(text) }
        Glibc.exit(code)
    }
}
