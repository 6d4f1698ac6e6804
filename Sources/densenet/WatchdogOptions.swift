import ArgumentParser
import DataParallel
import Glibc
import Training

struct WatchdogOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "End the job, and say which rank is missing, when ranks have waited so long for each other (default 300).",
            valueName: "seconds"))
    var collectiveTimeout = 300
}

/// As `withRanks`, with a watchdog over the ranks.
func withWatchedRanks(_ options: WatchdogOptions, _ body: (Communicator, Watchdog) throws -> Void) throws -> Never {
    try withRanks { world in
        let watchdog = try Watchdog(
            world, collectiveTimeout: options.collectiveTimeout, stopSignals: { StopSignal.count },
            launcherHost: getenv("DENSENET_LAUNCHER").map { String(cString: $0) }, report: { Console.note($0.message) })
        defer { watchdog.deregister() }
        try body(world, watchdog)
    }
}

/// For launch.sh, once mpirun has ended.
struct PostMortemOfRun: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "post-mortem",
        abstract:
            "Why the ranks of a run have ended, or which of them died and where it stood; nothing where that was said already.",
        shouldDisplay: false)

    @Argument(help: "The run folder.")
    var path: String

    @Argument(help: "mpirun's exit code.")
    var code: Int

    @Flag(help: "The kernel has ended a process for want of memory meanwhile.")
    var outOfMemory = false

    func run() throws {
        let words = PostMortem.take(
            from: RunFolder.ranks(of: path), isKilled: (129...192).contains(code), isOutOfMemory: outOfMemory,
            advice: "go on with: train --resume \(path)")
        for line in words { Console.note(line) }
    }
}
