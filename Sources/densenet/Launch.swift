import ArgumentParser
import DataParallel
import Kernels
import Support
import Training

/// For launch.sh, before mpirun starts: what a command line means for the start.
///
/// The first line that it prints has five words: `ranks`, `process` or `help`, for what the command is started as; how
/// many ranks this host has room for; the first processor that mpirun would bind them to, or `none` where it must not;
/// how many processes the kernel has ended so far when memory ran out; `new` or `old`, for whether the run folder was
/// made for this start. The rest is the run folder, where the command has one.
struct LaunchPlan: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "launch-plan", abstract: "What a command line means for launch.sh; makes the folder of a new run.")

    @Argument(parsing: .captureForPassthrough, help: "The command line.")
    var words: [String] = []

    func run() throws {
        let (start, folder, isNew) = try plan()
        let host = HostCores()
        let first = host.first.map { "\($0)" } ?? "none"
        print(start, host.count, first, OutOfMemoryKills.count, isNew ? "new" : "old")
        if let folder { print(folder) }
    }

    private func plan() throws -> (start: String, folder: String?, isNew: Bool) {
        try requireOwnOptions()
        let command: any ParsableCommand
        do {
            command = try Densenet.parse(words)
        } catch let error where Densenet.exitCode(for: error) == .success {
            return ("help", nil, false)
        }
        try VectorLevel.validateEnvironment()
        guard command is any RankedCommand else { return ("process", nil, false) }
        guard let train = command as? Train else { return ("ranks", nil, false) }
        guard !train.plan.printConfig else { return ("process", nil, false) }
        guard !train.plan.dryRun else { return ("ranks", nil, false) }
        if let folder = train.runFolder.folder { return ("ranks", folder, false) }
        let model = try train.network.network(default: Train.defaultModel).model
        return ("ranks", try RunFolder.makeNew(below: "runs", model: model), true)
    }

    /// Refuses options of launch.sh, which stand before the command.
    private func requireOwnOptions() throws {
        let misplaced = words.dropFirst().prefix { $0 != "--" }.first {
            $0.wholeMatch(of: /-n[0-9]*|--(hostfile|max-restarts|min-ranks)(=.*)?/) != nil
        }
        guard let misplaced else { return }
        throw Failure(.usage, "\(misplaced) goes before the command: ./launch.sh \(misplaced) … \(words[0]) …")
    }
}

/// For launch.sh, once mpirun has ended.
struct PostMortemOfRun: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "post-mortem",
        abstract:
            "Why the ranks of a run have ended, or which of them died and where it stood; nothing where that was said already.",
        discussion: "Prints a clause for launch.sh where the kernel has meanwhile ended a process as memory ran out.")

    @Option(help: "What launch-plan has counted.")
    var memoryKills: Int

    @Argument(help: "mpirun's exit code.")
    var code: Int

    @Argument(help: "The run folder, where the command has one.")
    var path: String?

    func run() throws {
        let isOutOfMemory = code == 128 + 9 && OutOfMemoryKills.count > memoryKills
        if let path {
            let words = PostMortem.take(
                from: RunFolder.ranks(of: path), isKilled: (129...192).contains(code), isOutOfMemory: isOutOfMemory,
                advice: TrainingRun.resumeAdvice(path))
            for line in words { Console.note(withOptionNames(line)) }
        }
        if isOutOfMemory { print(OutOfMemoryKills.cause) }
    }
}
