import ArgumentParser
import DataParallel
import Glibc
import Kernels
import Support
import Synchronization
import Training

struct WatchdogOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "End the job, and say which rank is missing, when ranks have waited this long for each other.",
            valueName: "seconds"))
    var collectiveTimeout = 300
}

/// A command that shares its work over MPI ranks.
protocol RankedCommand: ParsableCommand {
    var threads: ThreadOptions { get }
    /// Images per step over all ranks, as far as the options say before anything is read; nil where none are shared
    /// out.
    var imagesPerStep: Int? { get }
    /// Images of a step that stay together on a rank, likewise.
    var imagesTogether: Int { get }
}

extension RankedCommand {
    var imagesTogether: Int { 1 }

    /// Runs the command's work on all ranks and ends the process with its exit code.
    ///
    /// - Parameter values: what the ranks have to agree on before anything else.
    func withRanks(agreeingOn values: [NamedValue], _ body: (Communicator) throws -> Void) throws -> Never {
        // What MPI takes at its start; without, it ends the process in many words, or by a signal.
        try requireOpenFiles(12)
        try requireAddressSpace(224 << 20, who: "MPI and this program need", advice: "raise the limit")
        let code = MPIEnvironment.run(report: tellUser) { world in
            try world.throwOnAllRanks { try VectorLevel.validateEnvironment() }
            try world.requireSameStart(Self._commandName, values)
            try body(world)
            try world.throwOnAllRanks { try Console.demandWholeOutput() }
        }
        Glibc.exit(Launcher.exitCode(code))
    }

    /// As `withRanks`, with a watchdog over the ranks.
    func withWatchedRanks(
        _ options: WatchdogOptions, agreeingOn values: [NamedValue], _ body: (Communicator, Watchdog) throws -> Void
    ) throws -> Never {
        try withRanks(agreeingOn: values + [NamedValue("--collective-timeout", "\(options.collectiveTimeout)")]) {
            world in
            let watchdog = try Watchdog(
                world, collectiveTimeout: options.collectiveTimeout, stopSignals: { StopSignal.count },
                launcherHost: Launcher.host, report: tellUser)
            defer { watchdog.deregister() }
            try body(world, watchdog)
        }
    }
}

extension ParsableCommand {
    /// Runs what needs no ranks on one process only, should there be several.
    func onOneProcess(_ body: () throws -> Void) throws {
        guard MPIEnvironment.launchedRank ?? 0 == 0 else { return }
        try VectorLevel.validateEnvironment()
        try body()
        try Console.demandWholeOutput()
    }
}

/// launch.sh, where it has started this process by mpirun.
enum Launcher {
    /// Whether training has begun.
    static let hasBegun = Atomic(false)

    /// The host on which launch.sh runs; nil where it did not start this process.
    static var host: String? { getenv("DENSENET_LAUNCHER").map { String(cString: $0) } }

    /// The exit code for this process.
    ///
    /// A start that is refused before its first step, as where memory is too small, would be refused again: launch.sh,
    /// which starts again what was ended by a rank that died, is told so by 71 and ends with 69 as well.
    static func exitCode(_ code: Int32) -> Int32 {
        let isRefused = code == Failure.Kind.unavailable.rawValue && !hasBegun.load(ordering: .relaxed)
        return isRefused && host != nil ? 71 : code
    }
}
