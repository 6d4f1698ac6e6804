import ArgumentParser
import Benchmarking
import DataParallel
import DenseNetModel
import Kernels
import Support
import Training

struct Bench: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Time whole training steps, and where they go.",
        discussion: """
            The first line is the median. Shares are of rank zero's calling thread, timed
            in steps of their own.

            A training step of DenseNet-BC-100 on two ranks:
              ./launch.sh -n 2 bench

            Which ranks, threads and batch are fastest on this host, and the command:
              ./launch.sh bench --tune --model densenet-bc-40-12

            What the second rank brings, for the same batch and for the same batch a rank:
              ./launch.sh -n 2 bench --scaling 1,2
            """)

    @OptionGroup(title: "Network") var network: NetworkOptions
    @OptionGroup(title: "What is timed") var work: WorkOptions
    @OptionGroup(title: "What is timed") var statistics: StatisticsOptions
    @OptionGroup(title: "Speed") var batch: BatchOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Speed") var precision: PrecisionOptions
    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    static let defaultModel = "densenet-bc-100-12"

    struct WorkOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Steps to time (default: 10, or 3 with --tune).", valueName: "n"))
        var steps: Int?

        @Flag(
            help:
                "Try numbers of ranks and threads, with the batch and its double, and print what is fastest on this host."
        )
        var tune = false

        @Flag(help: "Time evaluation, not training.")
        var evaluate = false

        @Flag(help: "Time each product of the convolutions alone, beside OpenBLAS's sgemm.")
        var kernels = false

        @Option(
            help: ArgumentHelp(
                "Numbers of ranks, as 1,2,4: time each with the same batch, and with the same batch a rank, while the other ranks sleep (default: all ranks).",
                valueName: "n,n,..."),
            transform: { try numberList($0, like: "1,2,4") })
        var scaling: [Int]?
    }

    struct OutputOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "Fail (exit code 1) where a step takes more than this many times its matrix products alone (default: never).",
                valueName: "times"))
        var check: Double?

        @Option(
            help: ArgumentHelp(
                "Write a Chrome or Perfetto trace, one track a rank (default: none).", valueName: "file"),
            completion: .file())
        var trace: String?

        @OptionGroup var json: JSONOptions
    }

    var imagesPerStep: Int? { batch.batchSize }
    var imagesTogether: Int { statistics.statisticsGroup ?? 1 }

    func run() throws {
        let (steps, batchSize, check, trace) = (
            work.steps ?? (work.tune ? 3 : 10), batch.batchSize, output.check, output.trace
        )
        let printsJSON = output.json.isOn
        guard (1...100_000).contains(steps) else { throw Failure(.usage, "--steps is \(steps), expected 1 to 100,000") }
        try batch.requireValid()
        let configuration = try network.network(default: Self.defaultModel).network
        let statistics = try statistics.value() ?? .globalBatch
        guard statistics == .globalBatch || !(work.evaluate || work.kernels) else {
            throw Failure(
                .usage, "--statistics-group and --no-sync-bn are of training; leave out --evaluate and --kernels")
        }
        if let counts = work.scaling { return try timeScaling(configuration, over: counts, steps: steps) }
        if work.kernels {
            guard !printsJSON else { throw Failure(.usage, "--json does not go with --kernels; leave one out") }
            return try onOneProcess { reportKernels(configuration, precision: precision.value) }
        }
        if work.tune {
            guard !work.evaluate, check == nil, trace == nil, !printsJSON, threads.threads == nil else {
                throw Failure(.usage, "--tune goes without --evaluate, --threads, --check, --trace and --json")
            }
            return try onOneProcess { try Tuning(batchSize: batchSize, steps: steps).run() }
        }
        let run = Benchmark.Configuration(
            network: configuration, batchSize: batchSize, statistics: statistics, steps: steps,
            evaluates: work.evaluate, threads: threads.threads, precision: precision.value)
        let values =
            NamedValue.all(of: run, except: ["threads"]) + [
                NamedValue("--check", check.map { "\($0)" } ?? "none"), NamedValue("--trace", trace ?? "none"),
            ]
        try withRanks(agreeingOn: values) { world in
            if world.rank == 0, let warning = precision.value.warning { Console.note(warning) }
            let benchmark = try Benchmark(run, communicator: world)
            if world.rank == 0, world.size > 1, let refusal = benchmark.refusal { Console.note(refusal.note) }
            let result = try benchmark.run(recordingTrace: trace != nil)
            if world.rank == 0 {
                if printsJSON {
                    try Console.say(json: BenchReport(result, of: run, ranks: world.size))
                } else {
                    Console.say(result.report(run, ranks: world.size))
                }
            }
            if let trace { try write(benchmark.spans, to: trace, world) }
            // Rank zero judges for all: the others' times differ.
            let ratio = try world.broadcast(result.median / result.productSeconds, from: 0)
            if let check, ratio > check {
                throw world.markAgreed(
                    Failure(
                        .differs,
                        "a step takes \(ratio.formatted(places: 2)) times its matrix products alone, above \(check)"))
            }
        }
    }

    private func timeScaling(_ configuration: DenseNetConfiguration, over counts: [Int], steps: Int) throws {
        guard counts == Set(counts).sorted(), counts.allSatisfy({ (1...1_000_000).contains($0) }) else {
            throw Failure(.usage, "--scaling is \(list(counts)), expected ascending numbers of ranks, as 1,2,4")
        }
        let others = [
            ("--kernels", work.kernels), ("--tune", work.tune), ("--check", output.check != nil),
            ("--trace", output.trace != nil),
        ]
        if let (option, _) = others.first(where: \.1) {
            throw Failure(.usage, "--scaling does not go with \(option); leave one out")
        }
        var run = try Benchmark.Configuration(
            network: configuration, batchSize: batch.batchSize, statistics: statistics.value() ?? .globalBatch,
            steps: steps, evaluates: work.evaluate, threads: threads.threads, precision: precision.value)
        let values = NamedValue.all(of: run, except: ["threads"]) + [NamedValue("--scaling", list(counts))]
        try withRanks(agreeingOn: values) { world in
            run.threads = run.threads ?? world.defaultThreads
            let scaling = try Scaling(run, counts: counts, world: world)
            guard world.rank == 0 else { return }
            if output.json.isOn {
                let report = ScalingReport(
                    network: configuration, threads: run.threads!, strong: scaling.strong, weak: scaling.weak)
                return try Console.say(json: report)
            }
            Console.say(
                "\(try NetworkDescription(configuration, batchSize: batch.batchSize).name), "
                    + "\(configuration.image)×\(configuration.image), \(counted(run.threads!, "thread")) a rank")
            Console.say(scaling.table)
        }
    }

    private func list(_ numbers: [Int]) -> String { numbers.map(String.init).joined(separator: ",") }

    /// Each rank's spans go to rank zero, which writes the file.
    private func write(_ spans: [PhaseClock.Span], to path: String, _ world: Communicator) throws {
        let ranks = try world.allGather(bytes: PhaseClock.encode(spans)).map(PhaseClock.decode)
        try world.throwOnAllRanks {
            guard world.rank == 0 else { return }
            try AtomicFile.write(Benchmark.Result.trace(ranks).utf8, to: path)
            if !output.json.isOn { Console.say("trace: \(path)") }
        }
    }

    private func reportKernels(_ configuration: DenseNetConfiguration, precision: Precision) {
        let peak = ConvolutionProducts.sgemmPeak()
        Console.say("sgemm 1024×1024×1024: \(peak.formatted(places: 0)) GFLOP/s\(OpenBLAS.reservation)")
        var seen: Set<String> = []
        let measurements = ConvolutionProducts(configuration, images: batch.batchSize, precision: precision).measure()
        for measurement in measurements where seen.insert(measurement.product.name).inserted {
            let share = (100 * measurement.gigaflops / peak).formatted(places: 0, width: 4)
            Console.say(
                "\(measurement.product.name.padding(to: 32)) \(measurement.product.lanes) lanes "
                    + "\(measurement.gigaflops.formatted(places: 1, width: 8)) GFLOP/s \(share) %")
        }
    }
}

/// What `--scaling` prints with `--json`.
private struct ScalingReport: Encodable {
    let network: DenseNetConfiguration
    let threads: Int
    let strong, weak: [Scaling.Row]
}

/// What `--json` prints, and `plan --from` reads.
struct BenchReport: Codable {
    struct Phase: Codable {
        let name: String
        let forwardSeconds, backwardSeconds: Double
    }

    let network: DenseNetConfiguration
    let batchSize, ranks, threads: Int
    /// Missing in what programs print that had no choice.
    let statistics: BatchStatistics?
    let vectorLevel: String
    let imagesPerSecond: Double
    let stepSeconds: [Double]
    /// A step against its matrix products alone.
    let productRatio: Double
    let peakMemoryBytes: Int
    let phases: [Phase]

    init(_ result: Benchmark.Result, of run: Benchmark.Configuration, ranks: Int) {
        (network, batchSize, statistics) = (run.network, run.batchSize, run.statistics)
        (self.ranks, threads) = (ranks, result.threads)
        vectorLevel = "\(VectorLevel.current)"
        imagesPerSecond = Double(batchSize) / result.median
        stepSeconds = result.steps
        productRatio = result.median / result.productSeconds
        peakMemoryBytes = result.peakMemory
        phases = result.phases.map { phase, forward, backward in
            Phase(name: phase.name, forwardSeconds: forward, backwardSeconds: backward)
        }
    }
}
