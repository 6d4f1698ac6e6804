internal import COpenMPI
import Glibc
import Support

/// The one place that initialises and finalises MPI.
///
/// A scope rather than an owner with a `deinit`: an error that unwinds the stack would finalise MPI while other ranks
/// still wait for this one, which hangs, and Swift 6.3.1 may end an owner's life before a `catch` whose path never
/// returns.
public enum MPIEnvironment {
    /// Collective: initialises MPI (`MPI_Init_thread`), runs `body` with all ranks of the job, finalises MPI
    /// (`MPI_Finalize`). Once per process, on its main thread, which makes all MPI calls (`MPI_THREAD_FUNNELED`).
    /// Without a launcher the process is the only rank.
    ///
    /// After an error that all ranks know of (`Communicator.throwOnAllRanks`, `markAgreed`) they all finalise MPI and
    /// end. After any other error of one rank the others could wait for it for ever, so it ends them at once with its
    /// exit code (`MPI_Abort`), and `run` does not return. The error is reported before any rank ends, since mpirun
    /// kills the others when the first exits with a code.
    ///
    /// - Parameters:
    ///   - report: shows a failure to the user; called on rank 0 if all ranks know of it, else on the rank that has it.
    ///   - body: neither the communicator nor anything made from it may outlive it.
    /// - Returns: the process's exit code: zero, or that of the error (`.unavailable` if MPI cannot be initialised, or
    ///   does not see the ranks that the launcher started: the launcher of another MPI library starts processes of
    ///   which each is alone).
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
            try world.collective("MPI_Finalize") { MPI_Finalize() }
        } catch {
            let failure = Failure(wrapping: error).naming(rank: launchedRank ?? 0)
            report(failure)
            exitCode = failure.kind.rawValue
        }
        return exitCode
    }

    /// What the MPI library calls itself, on one line. Needs no MPI that is initialised.
    package static var libraryVersion: String {
        var (length, text) = (Int32(0), [CChar](repeating: 0, count: Int(MPI_MAX_LIBRARY_VERSION_STRING)))
        MPI_Get_library_version(&text, &length)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The rank that the launcher gave this process, known before MPI is initialised; nil without a launcher.
    package static var launchedRank: Int? {
        for name in ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"] {
            if let value = getenv(name), let rank = Int(String(cString: value)) { return rank }
        }
        return nil
    }

    private static func initialize() throws -> Communicator {
        // Without this a process that no launcher started forks a daemon to serve it. No other process reads it.
        setenv("OMPI_MCA_ess_singleton_isolated", "1", 0)
        var provided: Int32 = 0
        try checked("MPI_Init_thread", MPI_Init_thread(nil, nil, Int32(MPI_THREAD_FUNNELED), &provided))
        try checked("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(cmpi_comm_world(), cmpi_errors_return()))
        guard provided >= MPI_THREAD_FUNNELED else {
            throw Failure(
                .unavailable,
                "this MPI library has thread level \(provided), required is \(MPI_THREAD_FUNNELED) "
                    + "(MPI_THREAD_FUNNELED); install one built with threads")
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

    /// The rank for a message about a failed call; valid before MPI is initialised and after it is finalised, too.
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
