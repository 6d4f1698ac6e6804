import DataParallel
@preconcurrency import Glibc
import Support

/// Runs the scenarios named on the command line one after the other on all ranks. Each ends the job if a check fails;
/// exit code 0 means success.
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
