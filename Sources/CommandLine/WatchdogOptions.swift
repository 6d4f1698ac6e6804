import ArgumentParser
import DataParallel
import Kernels
import Training

struct WatchdogOptions: ParsableArguments {
    @Option(help: ArgumentHelp(
        "End the job, and say which rank is missing, when ranks have waited so long for each other (default 300).",
        valueName: "seconds"))
    var collectiveTimeout = 300
}

/// As `withRanks`, with a watchdog over the ranks.
func withWatchedRanks(_ options: WatchdogOptions, _ body: (Communicator, Watchdog) throws -> Void) throws -> Never {
    try withRanks { world in
        let watchdog = try Watchdog(
            world, timeout: options.collectiveTimeout, signals: { StopSignal.count }, report: { Console.note($0.message) })
        defer { watchdog.leave() }
        try body(world, watchdog)
    }
}

/// For launch.sh, once mpirun has killed all ranks since one has died.
struct LastWordsOfRun: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "last-words",
        abstract: "Which rank of a run has died, and where it stood; nothing where that was said already.",
        shouldDisplay: false)

    @Argument(help: "The run folder.")
    var path: String

    @Flag(help: "The kernel has ended a process for want of memory meanwhile.")
    var outOfMemory = false

    func run() throws {
        for death in LastWords.deaths(in: RunFolder.ranks(of: path), forWantOfMemory: outOfMemory) {
            Console.note("\(death); go on with: train --resume \(path)")
        }
    }
}
