import ArgumentParser
import DataParallel
import Glibc
import Kernels
import Support
import Training

/// The program: one struct a command.
@main
struct Densenet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "densenet",
        abstract: "Trains DenseNets on CPUs, data-parallel over MPI ranks.",
        discussion: """
            Started by mpirun, all ranks work on one job; started directly, the program is one rank.
            Exit codes: 64 usage, 65 data, 66 no input, 69 unavailable, 70 internal, 75 stopped and resumable.
            """,
        version: "densenet 0.1.0",
        subcommands: [
            Train.self, Evaluate.self, Verify.self, Bench.self, Describe.self, Synthesize.self, PostMortemOfRun.self,
        ])

    static func main() {
        saveAddressSpace()
        // A file that may not grow is an error in words.
        signal(SIGXFSZ, SIG_IGN)
        do {
            try demandText()
            try demandCommand()
            var command = try parseAsRoot()
            try VectorLevel.demandValidChoice()
            try command.run()
        } catch let failure as Failure {
            end(failure.kind.rawValue, saying: failure.message)
        } catch {
            let code = exitCode(for: error).rawValue
            // Help and version are asked for; they are no failures.
            if code == 0 { end(0, printing: fullMessage(for: error)) }
            // The parser takes a negative number for an option.
            let apart = zip(arguments, arguments.dropFirst()).first {
                $0.hasPrefix("--") && $1.hasPrefix("-") && Double($1) != nil
            }
            let words = message(for: error).split(separator: "\n").joined(separator: "; ")
            end(code, saying: words + (apart.map { "; write \($0)=\($1)" } ?? "") + "; see densenet --help")
        }
    }

    private static var arguments: ArraySlice<String> { CommandLine.arguments.dropFirst() }

    /// Refuses arguments that are not UTF-8 before anything is done with them: as text they would lead to another file.
    private static func demandText() throws {
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

    /// Refuses a word that is no command; the parser would go on to call the options after it unknown.
    private static func demandCommand() throws {
        guard let word = arguments.first, !word.hasPrefix("-"), word != "help" else { return }
        let commands = configuration.subcommands
        guard !commands.contains(where: { $0._commandName == word }) else { return }
        let names = commands.filter { $0.configuration.shouldDisplay }.map { $0._commandName }.joined(separator: ", ")
        throw Failure(.usage, "'\(word)' is no command; there are \(names); see densenet --help")
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

/// Runs a command's work on all ranks and ends the process with its exit code.
func withRanks(_ body: (Communicator) throws -> Void) throws -> Never {
    // What MPI takes at its start; without, it ends the process in many words, or by a signal.
    try demandOpenFiles(12)
    try demandAddressSpace(224 << 20, who: "MPI and this program need", advice: "raise the limit")
    exit(
        MPIEnvironment.run(report: { Console.note($0.message) }) { world in
            try world.requireSameStart()
            try body(world)
            try world.throwOnAllRanks { try Console.demandWholeOutput() }
        })
}

/// Runs what needs no ranks on one process only, should there be several.
func onOneProcess(_ body: () throws -> Void) throws {
    guard MPIEnvironment.launchedRank ?? 0 == 0 else { return }
    try body()
    try Console.demandWholeOutput()
}

/// Reads the value of `--seed`.
func seedNumber(_ text: String) throws -> UInt64 {
    guard let seed = UInt64(text) else { throw ValidationError("expected a whole number from 0 to \(UInt64.max)") }
    return seed
}

/// A path that stays right when the program is started elsewhere.
func absolutePath(_ path: String) -> String {
    guard !path.hasPrefix("/"), let folder = getcwd(nil, 0) else { return path }
    defer { free(folder) }
    guard let folder = String(validatingCString: folder) else { return path }
    return folder + "/" + path
}
