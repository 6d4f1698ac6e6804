import ArgumentParser
import Benchmarking
import DataParallel
import DenseNetModel
import Kernels
import Planning
import Reporting
import Support
import Training

struct Plan: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Predict a training step on more ranks than there are here.",
        discussion: """
            Measures what the ranks of this host compute, each for itself, and what sums
            between them take; a model adds the network. Start it on a whole node.

            DenseNet-BC-100 on up to 1024 ranks, 16 a node:
              ./launch.sh plan

            A batch of 256 on nodes of 64 cores with 25 Gbit/s between them:
              ./launch.sh plan --batch-size 256 --per-node 64 --latency 20us \\
                --bandwidth 25Gbit/s --svg plan.svg

            From what bench --json has printed on another machine, for two batches:
              ./launch.sh -n 1 plan --from b64.json --from b16.json --ranks 1,2,4,8
            """)

    @OptionGroup(title: "Network") var network: NetworkOptions
    @OptionGroup(title: "What is predicted") var target: TargetOptions
    @OptionGroup(title: "Measurement") var measurement: MeasurementOptions
    @OptionGroup(title: "Speed") var batch: BatchOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Speed") var precision: PrecisionOptions
    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct TargetOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp("Numbers of ranks (default: 1,2,4,... to 1024).", valueName: "n,n,..."),
            transform: { try numberList($0, like: "1,2,4") })
        var ranks: [Int]?

        @Option(help: ArgumentHelp("Ranks on a host at most.", valueName: "n"))
        var perNode = Machine.assumed.ranksPerHost

        @Option(
            help: ArgumentHelp(
                "The time that the smallest message takes from host to host, as 2us (default: 2us).", valueName: "time"),
            transform: timeValue)
        var latency: Double?

        @Option(
            help: ArgumentHelp(
                "What the network brings from host to host, as 12GB/s or 100Gbit/s (default: 12GB/s).",
                valueName: "rate"),
            transform: rateValue)
        var bandwidth: Double?

        @Flag(help: "Normalize each rank's images by their own mean and variance, as train does with this option.")
        var noSyncBn = false
    }

    struct MeasurementOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Steps to time for each number of images a rank.", valueName: "n"))
        var steps = 12

        @Option(
            help: ArgumentHelp(
                "What bench --json has printed on the machine in question; once for each batch it was timed with (default: measure here).",
                valueName: "file"), completion: .file(extensions: ["json"]))
        var from: [String] = []
    }

    struct OutputOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp("Draw images/s and efficiency over ranks (default: no drawing).", valueName: "file"),
            completion: .file(extensions: ["svg"]))
        var svg: String?

        @OptionGroup var json: JSONOptions
    }

    /// The ranks fill the host, whatever the batch.
    var imagesPerStep: Int? { nil }

    func run() throws {
        try batch.requireValid()
        let counts = target.ranks ?? (0...10).map { 1 << $0 }
        try requireValid(counts)
        if !measurement.from.isEmpty { return try onOneProcess { try report(fromFiles(), counts) } }
        let configuration = try network.network(default: Bench.defaultModel).network
        var run = Benchmark.Configuration(
            network: configuration, batchSize: batch.batchSize, statistics: target.noSyncBn ? .rank : .globalBatch,
            steps: measurement.steps, evaluates: false, threads: threads.threads, precision: precision.value)
        let values =
            NamedValue.all(of: run, except: ["threads"]) + [
                NamedValue("--ranks", counts.map(String.init).joined(separator: ",")),
                NamedValue("--per-node", "\(target.perNode)"),
            ]
        try withRanks(agreeingOn: values) { world in
            run.threads = run.threads ?? world.defaultThreads
            let source = try measured(run, counts, world)
            try world.throwOnAllRanks { if world.rank == 0 { try report(source, counts) } }
        }
    }

    private func requireValid(_ counts: [Int]) throws {
        let isInRange = counts.allSatisfy { (1...1_000_000).contains($0) }
        guard !counts.isEmpty, counts == Set(counts).sorted(), isInRange else {
            let given = counts.map(String.init).joined(separator: ",")
            throw Failure(.usage, "--ranks is \(given), expected ascending numbers from 1, as 1,2,4")
        }
        guard (1...100_000).contains(target.perNode) else {
            throw Failure(.usage, "--per-node is \(target.perNode), expected 1 to 100,000")
        }
        guard (4...100_000).contains(measurement.steps) else {
            throw Failure(.usage, "--steps is \(measurement.steps), expected 4 to 100,000")
        }
    }

    private func report(_ source: PlanSource, _ counts: [Int]) throws {
        let batchSize = batch.batchSize
        let report = try PlanReport(source, batchSize: batchSize, counts: counts)
        if let path = output.svg { try AtomicFile.write(report.drawing.utf8, to: path) }
        if output.json.isOn { try Console.say(json: report) } else { Console.say(report.text) }
    }

    private func schedule(of network: DenseNetConfiguration) -> StepSchedule {
        StepSchedule(ParameterTable(network), isSynchronized: !target.noSyncBn)
    }

    /// The machine that the options describe, with what this host's ranks have been measured to take.
    private func machine(_ links: (local: Link, gradients: Double)?) -> (Machine, sources: PlanSource.Links) {
        let assumed = Machine.assumed
        return (
            Machine(
                ranksPerHost: target.perNode, local: links?.local ?? assumed.local,
                localGradients: links?.gradients ?? assumed.localGradients,
                network: Link(
                    latency: target.latency ?? assumed.network.latency,
                    bandwidth: target.bandwidth ?? assumed.network.bandwidth)),
            PlanSource.Links(
                isLocalMeasured: links != nil, isNetworkGiven: target.latency != nil && target.bandwidth != nil)
        )
    }

    /// Measures on the ranks at hand. Collective.
    private func measured(_ run: Benchmark.Configuration, _ counts: [Int], _ world: Communicator) throws -> PlanSource {
        let measurement = try MachineMeasurement(run, world: world)
        // One image as well, for a batch that is shared out among more ranks than asked for.
        let shares = Set(counts.filter { $0 > 1 && $0 <= run.batchSize }.map { (run.batchSize - 1) / $0 + 1 } + [1])
        let whole: Set = [1, max(1, run.batchSize / 4), run.batchSize]
        let isShared = world.size > 1 && target.perNode > 1
        let ofOne = (isShared ? whole : whole.union(shares)).sorted()
        let ofAll = isShared ? shares.sorted() : []
        if world.rank == 0 { Console.remark(announcement(ofOne, ofAll, world.size)) }
        let alone = try measurement.profileAlone(images: ofOne)
        let full = try isShared ? measurement.profileFull(images: ofAll) : alone
        let (machine, links) = machine(try measurement.links())
        return PlanSource(
            network: run.network, threads: run.threads!,
            model: StepModel(
                schedule: schedule(of: run.network), machine: machine, alone: alone, full: full,
                fullRanks: isShared ? world.localSize : 1),
            origin: "measured here, \(processorName()), "
                + (isShared ? "1 and \(counted(world.localSize, "rank")) at a time" : "1 rank"),
            links: links)
    }

    /// A large network takes minutes.
    private func announcement(_ ofOne: [Int], _ ofAll: [Int], _ ranks: Int) -> String {
        func list(_ images: [Int]) -> String { images.map(String.init).joined(separator: ", ") }
        return "# timing \(counted(measurement.steps, "step")) each of \(list(ofOne)) images by one rank"
            + (ofAll.isEmpty ? "" : ", then of \(list(ofAll)) by \(ranks) ranks at a time")
    }

    private func fromFiles() throws -> PlanSource {
        let files = try measurement.from.map { try BenchReport(path: $0) }
        let first = files[0]
        if network.model != nil || network.blocks != nil {
            let named = try network.network(default: Bench.defaultModel).network
            guard named == first.network else {
                throw Failure(
                    .usage, "\(measurement.from[0]) is of another network than the options name; leave these out")
            }
        }
        for (path, file) in zip(measurement.from, files).dropFirst()
        where file.network != first.network || file.threads != first.threads {
            throw Failure(
                .data, "\(path) is of another network, or of other threads a rank, than \(measurement.from[0])")
        }
        let statistics: BatchStatistics = target.noSyncBn ? .rank : .globalBatch
        for (path, file) in zip(measurement.from, files) where file.statistics ?? .globalBatch != statistics {
            throw Failure(
                .data,
                "\(path) is of batch statistics of \(file.statistics ?? .globalBatch), not of \(statistics); give --no-sync-bn "
                    + "to both bench and plan or to none, and --statistics-group to none")
        }
        let schedule = schedule(of: first.network)
        let (machine, links) = machine(nil)
        func profile(_ files: [BenchReport]) -> ComputeProfile? {
            files.isEmpty
                ? nil : ComputeProfile(stepsOf: files.map { $0.wholeStep(schedule, machine.local) }, schedule)
        }
        let alone = profile(files.filter { $0.ranks == 1 })
        let full = profile(files.filter { $0.ranks > 1 })
        return PlanSource(
            network: first.network, threads: first.threads,
            model: StepModel(
                schedule: schedule, machine: machine, alone: (alone ?? full)!, full: (full ?? alone)!,
                fullRanks: files.map(\.ranks).max()!),
            origin: "from \(measurement.from.joined(separator: ", "))"
                + (full == nil ? ", which one rank has made: no waiting for unequal ranks" : ""),
            links: links)
    }
}
