import Glibc
import Synchronization

/// Held while a job runs: two jobs at a time on few cores would only slow each other down.
private let oneJob = Mutex(())

/// Runs a built program on `ranks` ranks of this host, more than there are cores if need be.
///
/// - Parameters:
///   - environment: variables for mpirun, which hands them on to the ranks.
///   - timeout: seconds, counted from the job's start.
/// - Returns: the exit code of the job (of the first rank that failed) and what all ranks have printed.
/// - Throws: `ProgramError` if the program is not built or the job did not end in time.
public func mpirun(
    ranks: Int, program: String, arguments: [String], environment: [String: String?] = [:], timeout: Double = 30
) throws -> ProgramResult {
    var options = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "\(ranks)"]
    if ranks > sysconf(Int32(_SC_NPROCESSORS_ONLN)) { options += ["--mca", "mpi_yield_when_idle", "1"] }
    let path = try builtExecutable(named: program)
    return try oneJob.withLock { _ in
        try run("mpirun", options + [path] + arguments, environment: environment, timeout: timeout)
    }
}
