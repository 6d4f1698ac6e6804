import ArgumentParser
import DataParallel
import Glibc
import Kernels
import Support
import Training

/// For launch.sh, before mpirun starts: what a command line means for the start.
///
/// The first line that it prints has four words: `ranks`, `process` or `help`, for what the command is started as; the
/// number of ranks, or 0 where it is the scheduler's; how many processes the kernel has ended so far when memory ran
/// out; `new` or `old`, for whether the run folder was made for this start. The second line is mpirun's options for the
/// layout (`RankMapping`). The rest is the run folder, where the command has one. Standard error gets the choice of
/// ranks and threads, where the user has left it to launch.sh.
struct LaunchPlan: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "launch-plan", abstract: "What a command line means for launch.sh; makes the folder of a new run.")

    @Argument(help: "What -n says, else 0.")
    var ranks: Int

    @Argument(help: "What --ranks-per-node says, else 0.")
    var ranksPerNode: Int

    @Argument(help: "The slots of the host file's hosts, such as 16+16, or none.")
    var slots: String

    @Argument(parsing: .captureForPassthrough, help: "The command line.")
    var words: [String] = []

    func run() throws {
        guard ranks == 0 || ranksPerNode == 0 else {
            throw Failure(.usage, "-n and --ranks-per-node both give the number of ranks; leave one out")
        }
        let (start, command, folder, isNew) = try plan()
        let mapping = mapping(command)
        if start == "ranks", ranks == 0, ranksPerNode == 0 { Console.remark(mapping.summary) }
        let isPossible = start != "ranks" || MPIEnvironment.ranksMayReadMemory
        let options = mapping.options + (isPossible ? [] : ["--mca", "btl_vader_single_copy_mechanism", "none"])
        print(start, mapping.ranks ?? 0, OutOfMemoryKills.count, isNew ? "new" : "old")
        print(options.joined(separator: " "))
        if let folder { print(folder) }
    }

    private func mapping(_ command: (any RankedCommand)?) -> RankMapping {
        func given(_ number: Int) -> Int? { number == 0 ? nil : number }
        let wishes = RankMapping.Wishes(
            ranks: given(ranks), ranksPerHost: given(ranksPerNode), threads: command?.threads.threads,
            images: command?.imagesPerStep, unit: command?.imagesTogether ?? 1)
        let allocation = RankMapping.Allocation(slots: slots == "none" ? "" : slots) { name in
            getenv(name).map { String(cString: $0) }
        }
        return RankMapping.choose(HostTopology(), allocation, wishes)
    }

    private typealias Plan = (start: String, command: (any RankedCommand)?, folder: String?, isNew: Bool)

    private func plan() throws -> Plan {
        try requireOwnOptions()
        let command: any ParsableCommand
        do {
            command = try Densenet.parse(words)
        } catch let error where Densenet.exitCode(for: error) == .success {
            return ("help", nil, nil, false)
        }
        try VectorLevel.validateEnvironment()
        guard let command = command as? any RankedCommand else { return ("process", nil, nil, false) }
        if let bench = command as? Bench, bench.work.tune {
            guard ranks == 0, ranksPerNode == 0, slots == "none" else {
                throw Failure(
                    .usage, "bench --tune tries numbers of ranks itself, on this host; leave -n and the like out")
            }
            return ("process", bench, nil, false)
        }
        guard let train = command as? Train else { return ("ranks", command, nil, false) }
        guard !train.plan.printConfig else { return ("process", train, nil, false) }
        guard !train.plan.dryRun else { return ("ranks", train, nil, false) }
        if let folder = train.runFolder.folder { return ("ranks", train, folder, false) }
        let model = try train.network.network(default: Train.defaultModel).model
        return ("ranks", train, try RunFolder.makeNew(below: "runs", model: model), true)
    }

    /// Refuses options of launch.sh, which stand before the command.
    private func requireOwnOptions() throws {
        let misplaced = words.dropFirst().prefix { $0 != "--" }.first {
            $0.wholeMatch(of: /-n[0-9]*|--(hostfile|ranks-per-node|max-restarts|min-ranks)(=.*)?/) != nil
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
