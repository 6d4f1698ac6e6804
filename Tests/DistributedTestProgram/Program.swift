import DataParallel
@preconcurrency import Glibc
import Support

/// Runs the scenarios named on the command line, one after the other, on all ranks. Each states what must hold and ends
/// the job if it does not; exit code 0 means that all held.
@main
struct Program {
    static func main() {
        exit(
            MPIEnvironment.run(report: { fputs("\($0)\n", stderr) }) { world in
                for name in CommandLine.arguments.dropFirst() {
                    guard let scenario = scenarios[name] else { throw Failure(.usage, "no scenario is called \(name)") }
                    try scenario(world)
                }
            })
    }
}
