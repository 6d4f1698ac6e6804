import DataParallel
@preconcurrency import Glibc
import Support

/// Runs the scenarios named on the command line one after the other on all ranks. Each ends the job if a check fails;
/// exit code 0 means success.
@main
struct Program {
    static func main() {
        if CommandLine.arguments.dropFirst().first == "siblings-memory" { return siblingsMemory() }
        exit(
            MPIEnvironment.run(report: { fputs("\($0)\n", stderr) }) { world in
                for name in CommandLine.arguments.dropFirst() {
                    guard let scenario = scenarios[name] else { throw Failure(.usage, "no scenario is called \(name)") }
                    try scenario(world)
                }
            })
    }

    /// Root gives itself up, after which the kernel keeps even the user's own processes out of this one's memory.
    private static func siblingsMemory() {
        print(MPIEnvironment.ranksMayReadMemory)
        fflush(nil)  // What is asked next forks, and a sanitizer writes what the child has buffered.
        guard setuid(65534) == 0 else { return }
        print(MPIEnvironment.ranksMayReadMemory)
    }
}
