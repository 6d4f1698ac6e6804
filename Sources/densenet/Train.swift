import ArgumentParser
import DataParallel
import DenseNetModel
import ImageData
import Reporting
import Support
import Training

/// What holds where no option says otherwise.
private let defaults = RunConfiguration(network: try! DenseNetConfiguration(model: Train.defaultModel))

struct Train: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a network; without options a small one on synthetic images.",
        discussion: "The recipe is the paper's (arXiv 1608.06993, section 4.2) where no option says otherwise.")

    @OptionGroup var file: ConfigOptions

    @Option(help: "Take options from a recipe that comes with the program. Options given here, or by --config, win.")
    var recipe: Recipe?

    @OptionGroup(title: "Network") var network: NetworkOptions
    @OptionGroup(title: "Data") var dataOptions: DataOptions

    @Option(
        help: "Random changes of training images: crop,flip,jitter,cutout or none (default \(defaults.augmentation)).",
        transform: augmentation)
    var augment: Augmentation?

    @Option(help: "Epochs (default \(defaults.epochs), or \(Train.syntheticEpochs) on synthetic images).")
    var epochs: Int?

    @Option(help: "Stop after this many steps in all.")
    var steps: Int?

    @Option(help: "Images per step over all ranks (default \(defaults.batchSize)).")
    var batchSize: Int?

    @Option(help: "The highest learning rate (default \(defaults.schedule.learningRate)).")
    var learningRate: Double?

    @Option(help: "How the learning rate falls (default \(ScheduleName(defaults.schedule.shape))).")
    var schedule: ScheduleName?

    @Option(
        help: ArgumentHelp(
            "With step: fractions of the epochs where the rate drops to a tenth (default 0.5,0.75).", valueName: "f,f,…"
        ), transform: { try numberList($0, like: "0.5,0.75") })
    var milestones: [Double]?

    @Option(
        help: "Epochs over which the learning rate climbs to its height (default \(defaults.schedule.warmUpEpochs)).")
    var warmUp: Int?

    @Option(help: "Momentum (default \(defaults.optimizer.momentum)).")
    var momentum: Double?

    @Flag(inversion: .prefixedNo, help: "Nesterov's momentum (default: on).")
    var nesterov: Bool?

    @Option(help: "Weight decay (default \(defaults.optimizer.weightDecay)).")
    var weightDecay: Double?

    @Flag(inversion: .prefixedNo, help: "Whether norms and biases decay too (default: they do).")
    var decayNorm: Bool?

    @Option(help: "The share of the target spread over all classes (default \(defaults.labelSmoothing)).")
    var labelSmoothing: Double?

    @Option(help: "What all random numbers are drawn from (default \(defaults.seed)).", transform: seedNumber)
    var seed: UInt64?

    @Flag(help: "Go through the training images in their order.")
    var noShuffle = false

    @Option(
        name: .customLong("init"),
        help: ArgumentHelp("Start from the weights of a safetensors file.", valueName: "file"))
    var initialWeights: String?

    @OptionGroup(title: "Safety (may change with --resume, for that start)") var faults: FaultPolicyOptions
    @OptionGroup(title: "Threads") var threads: ThreadOptions
    @OptionGroup(title: "Precision") var precision: PrecisionOptions
    @OptionGroup(title: "Watchdog") var watchdog: WatchdogOptions
    @OptionGroup(title: "Logging (may change with --resume, for that start)") var logging: TrainLoggingOptions

    @Option(help: ArgumentHelp("The run folder (default: a new one below runs/).", valueName: "folder"))
    var out: String?

    @Option(
        help: ArgumentHelp(
            "Resume the run in a folder with its own options. --epochs makes it longer; --threads, --collective-timeout, safety and logging may differ; others may be given as they were. auto: resume the run in --out, or begin it where there is none.",
            valueName: "folder"))
    var resume: String?

    @Flag(help: "Time three steps, print what the run will take, and end; writes nothing.")
    var dryRun = false

    @Flag(help: "Print the options as resolved, for --config, and end.")
    var printConfig = false

    /// Under `./launch.sh` alone this is done in a few minutes.
    static let defaultModel = "densenet-bc-22-12"
    private static let syntheticEpochs = 5

    /// The value of `--resume` for a run that may not be there yet.
    private static let auto = "auto"

    /// The run folder, where one is named.
    var folder: String? { resume == Self.auto ? out : resume ?? out }

    func validate() throws {
        guard resume != Self.auto || out != nil else {
            throw ValidationError("--resume auto needs --out, the run folder")
        }
    }

    func run() throws {
        if printConfig { return try onOneProcess { Console.say(try yaml(of: resolved())) } }
        // Before MPI, whose start takes a moment: a signal is not lost.
        StopSignal.listen(patience: watchdog.collectiveTimeout)
        let values = [
            NamedValue("--resume", resume ?? "none"), dataOptions.kind, NamedValue("--out", out ?? "none"),
            NamedValue("--dry-run", "\(dryRun)"),
        ]
        try withWatchedRanks(watchdog, agreeingOn: values) { world, watchdog in
            if dryRun { return try estimate(world) }
            defer { Console.forgiveLostOutput() }
            let report = RunReport(
                logging.output,
                recorders: [
                    EventRecorder(report: { Console.note($0) }),
                    RunRecorder(
                        program: Densenet.configuration.version, command: Array(CommandLine.arguments.dropFirst()),
                        report: { Console.note(withOptionNames("\($0)")) }),
                ])
            let run: TrainingRun
            if let resume = try folderToResume(world) {
                run = try TrainingRun(
                    resuming: resume, threads: threads.threads, stepMetrics: logging.stepMetrics, watchdog: watchdog,
                    observer: report, communicator: world
                ) { configuration in
                    if let out, !isSameFile(out, resume) {
                        throw Failure(.usage, "--out is \(out), but the run to resume is in \(resume); leave it out")
                    }
                    try network.apply(to: &configuration)
                    try apply(to: &configuration)
                }
            } else {
                // A folder of images may be missing on one host only.
                let configuration = try world.throwOnAllRanks { try newRun() }
                run = try TrainingRun(
                    configuration, path: out, threads: threads.threads, stepMetrics: logging.stepMetrics,
                    watchdog: watchdog, observer: report, communicator: world)
            }
            Launcher.hasBegun.store(true, ordering: .relaxed)
            if resume == Self.auto, run.isFinished {
                if world.rank == 0 { say("the run in \(run.path) is finished") }
                // Its weights are missing where it was killed just before they were written.
                if try world.onRankZero({ try FileSystem.exists(run.path + "/weights.safetensors") }) {
                    if world.rank == 0 { report.conclude(run) }
                    return
                }
            }
            try run.run()
        }
    }

    private func say(_ line: String) {
        if !logging.output.quiet { Console.say(line) }
    }

    /// The folder of the run to resume; nil for a new run. Collective.
    private func folderToResume(_ world: Communicator) throws -> String? {
        guard resume == Self.auto, let out else { return resume }
        let isThere = try world.onRankZero { try Self.holdsRun(out) }
        if world.rank == 0 {
            say(isThere ? "resuming the run in \(out)" : "beginning a new run in \(out)")
        }
        return isThere ? out : nil
    }

    private static func holdsRun(_ folder: String) throws -> Bool { try FileSystem.exists(folder + "/config.json") }

    /// The run that the options ask for.
    private func resolved() throws -> RunConfiguration {
        var configuration: RunConfiguration
        if let folder, resume != nil, try resume != Self.auto || Self.holdsRun(folder) {
            let before = try RunConfiguration(path: folder + "/config.json")
            configuration = before
            try network.apply(to: &configuration)
            try apply(to: &configuration)
            try configuration.validateResuming(before, in: folder)
        } else {
            configuration = try newRun()
        }
        try configuration.validate(worldSize: 1)
        return configuration
    }

    /// A file for `--config` that has the options as resolved.
    private func yaml(of configuration: RunConfiguration) throws -> String {
        var entries = try RunOptions.entries(of: configuration)
        if let threads = threads.threads { entries.append(ConfigEntry(name: "threads", value: "\(threads)")) }
        entries.append(ConfigEntry(name: "collective-timeout", value: "\(watchdog.collectiveTimeout)"))
        entries += logging.entries
        if let out { entries.append(ConfigEntry(name: "out", value: out)) }
        return RunOptions.yaml(entries, CommandOptions(Self.self))
    }

    private func estimate(_ world: Communicator) throws {
        let configuration = try world.throwOnAllRanks { try resolved() }
        let estimate = try RunEstimate(configuration, threads: threads.threads, communicator: world)
        guard world.rank == 0 else { return }
        Console.say(try yaml(of: configuration))
        Console.say(estimate.report(batchSize: configuration.batchSize, folder: folder ?? "runs"))
    }

    private func newRun() throws -> RunConfiguration {
        let shape = try dataOptions.shape()
        let (model, network) = try network.network(
            default: Self.defaultModel, classes: shape?.classes ?? SyntheticImages.classNames.count,
            image: shape?.imageSize ?? CIFAR.imageSize)
        var configuration = RunConfiguration(
            model: model, network: network, epochs: shape == nil ? Self.syntheticEpochs : defaults.epochs)
        try apply(to: &configuration)
        return configuration
    }

    /// Sets what is given, but for the network.
    private func apply(to run: inout RunConfiguration) throws {
        try dataOptions.apply(to: &run.data)
        run.normalization = try dataOptions.normalization() ?? run.normalization
        run.augmentation = augment ?? run.augmentation
        run.epochs = epochs ?? run.epochs
        run.steps = steps ?? run.steps
        run.batchSize = batchSize ?? run.batchSize
        run.schedule = LearningRateSchedule(
            shape: try shape(over: run.schedule.shape), learningRate: learningRate ?? run.schedule.learningRate,
            warmUpEpochs: warmUp ?? run.schedule.warmUpEpochs)
        run.optimizer.momentum = momentum ?? run.optimizer.momentum
        run.optimizer.nesterov = nesterov ?? run.optimizer.nesterov
        run.optimizer.weightDecay = weightDecay ?? run.optimizer.weightDecay
        run.optimizer.decaysNorms = decayNorm ?? run.optimizer.decaysNorms
        run.labelSmoothing = labelSmoothing ?? run.labelSmoothing
        run.seed = seed ?? run.seed
        run.shuffle = run.shuffle && !noShuffle
        run.precision = precision.precision ?? run.precision
        if let initialWeights, !isSameFile(initialWeights, run.initialWeights) { run.initialWeights = initialWeights }
        faults.apply(to: &run.faults)
    }

    private func shape(over before: LearningRateSchedule.Shape) throws -> LearningRateSchedule.Shape {
        let name = schedule ?? ScheduleName(before)
        if let milestones {
            guard name == .step else {
                let list = milestones.map { "\($0)" }.joined(separator: ",")
                throw Failure(
                    .usage, "--milestones \(list) means nothing to --schedule \(name.rawValue), only to step")
            }
            return .step(milestones: milestones, factor: 0.1)
        }
        return name == ScheduleName(before) ? before : name.shape
    }
}

extension Communicator {
    /// What rank zero finds. Collective.
    fileprivate func onRankZero(_ holds: () throws -> Bool) throws -> Bool {
        let found = try throwOnAllRanks { try rank == 0 && holds() }
        return try broadcast(found ? 1.0 : 0.0, from: 0) > 0
    }
}
