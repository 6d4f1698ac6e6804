internal import COpenMPI
import Glibc
import Support

/// Initializes and finalizes MPI.
///
/// A scope rather than an owner with a `deinit`: when an error unwinds the stack, `MPI_Finalize` would hang while other
/// ranks wait for this one; and Swift 6.3.1 may destroy an owner before a `catch` whose path never returns.
public enum MPIEnvironment {
    /// Collective: initializes MPI (`MPI_Init_thread`), runs `body` with all ranks of the job and finalizes MPI
    /// (`MPI_Finalize`). Call it once per process, on the main thread, which must make all MPI calls
    /// (`MPI_THREAD_FUNNELED`). Without a launcher the process is the only rank.
    ///
    /// After an error that all ranks know of (`Communicator.throwOnAllRanks`, `markAgreed`) they all finalize MPI and
    /// return. After any other error on one rank, the others might wait for it forever: it ends them at once with its
    /// exit code (`MPI_Abort`), and `run` does not return. The error is reported before any rank ends, since mpirun
    /// kills the others as soon as one exits with a nonzero code.
    ///
    /// - Parameters:
    ///   - report: shows a failure to the user; called on rank 0 if all ranks know of it, else on the rank that has it.
    ///   - body: neither the communicator nor anything created from it may outlive it.
    /// - Returns: the process's exit code: zero or that of the error. It is `.unavailable` if MPI cannot be initialized
    ///   or does not see the launcher's other ranks, as happens with another MPI library's launcher.
    public static func run(report: (Failure) -> Void, _ body: (Communicator) throws -> Void) -> Int32 {
        var exitCode: Int32 = 0
        do {
            let world = try initialize()
            do {
                try body(world)
            } catch {
                let failure = Failure(wrapping: error)
                let isAgreed = failure == world.agreedFailure
                if world.rank == 0 || !isAgreed { report(failure.naming(rank: isAgreed ? 0 : world.rank)) }
                guard isAgreed || world.size == 1 else { world.abort(failure.kind) }
                exitCode = failure.kind.rawValue
            }
            fflush(nil)
            // MPI_Finalize waits for all ranks.
            world.progress.enter("end of the job")
            try world.releaseHost()
            try world.collective("MPI_Finalize") { MPI_Finalize() }
        } catch {
            let failure = Failure(wrapping: error).naming(rank: launchedRank ?? 0)
            report(failure)
            exitCode = failure.kind.rawValue
        }
        return exitCode
    }

    /// The name and version of the MPI library, on one line; valid before MPI is initialized.
    package static var libraryVersion: String {
        var (length, text) = (Int32(0), [CChar](repeating: 0, count: Int(MPI_MAX_LIBRARY_VERSION_STRING)))
        MPI_Get_library_version(&text, &length)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The rank that the launcher assigned to this process, known before MPI is initialized; nil without a launcher.
    package static var launchedRank: Int? {
        for name in ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"] {
            if let value = getenv(name), let rank = Int(String(cString: value)) { return rank }
        }
        return nil
    }

    private static func initialize() throws -> Communicator {
        // Keeps Open MPI from forking a daemon for a process without a launcher.
        setenv("OMPI_MCA_ess_singleton_isolated", "1", 0)
        var provided: Int32 = 0
        try checked("MPI_Init_thread", MPI_Init_thread(nil, nil, Int32(MPI_THREAD_FUNNELED), &provided))
        try checked("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(cmpi_comm_world(), cmpi_errors_return()))
        guard provided >= MPI_THREAD_FUNNELED else {
            throw Failure(
                .unavailable,
                "this MPI library provides thread level \(provided), \(MPI_THREAD_FUNNELED) (MPI_THREAD_FUNNELED) is "
                    + "required; install one built with threads")
        }
        let world = try Communicator(handle: cmpi_comm_world())
        if let launched = launchedRank, launched != world.rank {
            throw Failure(
                .unavailable,
                "the launcher started this process as rank \(launched), but MPI sees rank \(world.rank) "
                    + "of \(world.size); start it with the mpirun of Open MPI")
        }
        return world
    }

    /// The rank for a message about a failed call; also valid before MPI is initialized and after it is finalized.
    static var currentRank: Int {
        var initialized: Int32 = 0
        var finalized: Int32 = 0
        var rank: Int32 = 0
        MPI_Initialized(&initialized)
        MPI_Finalized(&finalized)
        if initialized != 0, finalized == 0, MPI_Comm_rank(cmpi_comm_world(), &rank) == MPI_SUCCESS { return Int(rank) }
        return launchedRank ?? 0
    }
}
