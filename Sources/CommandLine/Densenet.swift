import ArgumentParser
import DataParallel
import Glibc
import Kernels
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
        subcommands: [Train.self, Evaluate.self, Verify.self, Bench.self, Describe.self, Synthesize.self, LastWordsOfRun.self])

    static func main() {
        do {
            var command = try parseAsRoot()
            try VectorLevel.demandValidChoice()
            try command.run()
        } catch let failure as Failure {
            end(failure.kind.rawValue, saying: failure.message)
        } catch {
            let code = exitCode(for: error).rawValue
            // Help and version are asked for; they are no failures.
            if code == 0 { end(0, printing: fullMessage(for: error)) }
            end(code, saying: message(for: error).split(separator: "\n").joined(separator: "; ") + "; see densenet --help")
        }
    }

    /// Ends a process that has found, before MPI, what in general all ranks find: rank zero alone speaks.
    private static func end(_ code: Int32, printing text: String = "", saying message: String? = nil) -> Never {
        if let rank = MPIEnvironment.launchedRank, rank > 0 {
            if code != 0 {
                // mpirun ends all ranks when the first exits with a code: rank zero first, whose end a signal announces. Who is left in
                // peace is alone with it.
                if sleep(2) == 0, let message { Console.note("rank \(rank): \(message)") }
            }
            Glibc.exit(code)
        }
        if let message { Console.note(message) } else { print(text) }
        Glibc.exit(code)
    }
}

/// Runs a command's work on all ranks and ends the process with its exit code.
func withRanks(_ body: (Communicator) throws -> Void) -> Never {
    exit(MPIEnvironment.run(report: { Console.note($0.message) }) { world in
        try world.demandSameStart()
        try body(world)
    })
}

/// Runs what needs no ranks on one process only, should there be several.
func onOneProcess(_ body: () throws -> Void) rethrows {
    if MPIEnvironment.launchedRank ?? 0 == 0 { try body() }
}

/// A path that stays right when the program is started elsewhere.
func absolutePath(_ path: String) -> String {
    guard !path.hasPrefix("/"), let folder = getcwd(nil, 0) else { return path }
    defer { free(folder) }
    return String(cString: folder) + "/" + path
}
