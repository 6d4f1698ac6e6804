import Dispatch
import FoundationEssentials
import Glibc

/// One for each job that may run: with two, one computes while another waits for a clock; more on few cores would only
/// slow each other down.
private let jobSlots = DispatchSemaphore(value: 2)

/// Runs a built program on `ranks` ranks of this host, oversubscribing its cores if necessary.
///
/// - Parameters:
///   - environment: variables for mpirun, which passes them to the ranks.
///   - quiet: suppresses mpirun's own messages about a rank's failure.
///   - timeout: seconds, counted from the job's start.
/// - Returns: the exit code of the job (that of the first rank that failed) and the output of all ranks.
/// - Throws: `ProgramError` if the program is not built or the job did not end in time.
public func mpirun(
    ranks: Int, program: String, arguments: [String], environment: [String: String?] = [:], quiet: Bool = false,
    timeout: Double = 60
) throws -> ProgramResult {
    try withMPIJob(ranks: ranks, program: program, arguments: arguments, environment: environment, quiet: quiet) {
        try $0.wait(timeout: timeout)
    }
}

/// Runs `body`, which starts a job in another way, once fewer than two other jobs run.
public func withJobSlot<Result>(_ body: () throws -> Result) rethrows -> Result {
    jobSlots.wait()
    defer { jobSlots.signal() }
    return try body()
}

/// Starts a job as `mpirun(ranks:…)` does and runs `body` meanwhile.
///
/// - Parameter killDelay: seconds that mpirun gives the other ranks after one has failed; its default is 1.
public func withMPIJob<Result>(
    ranks: Int, program: String, arguments: [String], environment: [String: String?] = [:], quiet: Bool = false,
    killDelay: Int = 0, _ body: (RunningProgram) throws -> Result
) throws -> Result {
    // Tests share the cores: waiting ranks must yield.
    // mpirun would otherwise wait two seconds between a rank's failure and its own end.
    let options = [
        "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
        "--mca", "odls_base_sigkill_timeout", "\(killDelay)",
    ]
    let path = try builtExecutable(named: program)
    return try withJobSlot {
        let job = try RunningProgram(
            "mpirun", options + (quiet ? ["-q"] : []) + ["-n", "\(ranks)", path] + arguments, environment: environment)
        return try body(job)
    }
}

/// The repository's launch.sh.
public let launchScript = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/launch.sh"

/// Starts a job with launch.sh and the program under test and runs `body` meanwhile.
public func withLaunchedJob<Result>(
    _ arguments: [String], environment: [String: String?] = [:], _ body: (RunningProgram) throws -> Result
) throws -> Result {
    try withLaunchScript { try body(RunningProgram("bash", [$0] + arguments, environment: environment)) }
}

/// Passes `body` the path of a launch.sh in a folder with the program under test and without sources, so that there is
/// nothing to build.
public func withLaunchScript<Result>(_ body: (String) throws -> Result) throws -> Result {
    let root = ScratchFolder()
    for folder in [".build", ".build/release"] { mkdir(root(folder), 0o777) }
    symlink(try builtExecutable(named: "densenet"), root(".build/release/densenet"))
    try FileManager.default.copyItem(atPath: launchScript, toPath: root("launch.sh"))
    return try withJobSlot { try body(root("launch.sh")) }
}
