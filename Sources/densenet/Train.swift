import ArgumentParser
import DataParallel
import DenseNetModel
import ImageData
import Reporting
import Support
import Training

/// The options in groups, in the order of `--help`: as one thinks of a run.
struct Train: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a network; without options a small one on synthetic images.",
        discussion: """
            The recipe is the paper's (arXiv 1608.06993, section 4.2) where no option
            says otherwise. The batch is shared by all ranks. Ctrl-C writes a checkpoint.

            A small network on synthetic images, one rank a core:
              ./launch.sh train

            DenseNet-BC on CIFAR-10, once `fetch cifar10` has brought it:
              ./launch.sh train --data cifar10 --model densenet-bc-40-12 \\
                  --out runs/first

            Go on where that run was stopped:
              ./launch.sh train --resume runs/first
            """)

    @OptionGroup(title: "Recipe") var recipe: RecipeOptions
    @OptionGroup(title: "Network") var network: NetworkOptions
    @OptionGroup(title: "Fine-tuning") var fineTuning: FineTuningOptions
    @OptionGroup(title: "Data") var dataOptions: DataOptions
    @OptionGroup(title: "Data") var augmentation: AugmentationOptions
    @OptionGroup(title: "Data") var testImage: TestImageOptions
    @OptionGroup(title: "Data") var finalViews: FinalViewOptions
    @OptionGroup(title: "Batch and schedule") var schedule: ScheduleOptions
    @OptionGroup(title: "Batch and schedule") var bestEpoch: BestEpochOptions
    @OptionGroup(title: "Batch and schedule") var statistics: StatisticsOptions
    @OptionGroup(title: "Optimizer") var optimizer: OptimizerOptions
    @OptionGroup(title: "Run folder") var runFolder: RunFolderOptions
    @OptionGroup(title: "Safety (may change with --resume, for that start)") var safety: SafetyOptions
    @OptionGroup(title: "Logging (may change with --resume, for that start)") var logging: TrainLoggingOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Speed") var loader: LoaderOptions
    @OptionGroup(title: "Speed") var precision: PrecisionOptions
    @OptionGroup(title: "Plan (nothing is trained)") var plan: PlanOptions

    /// Under `./launch.sh` alone this is done in a few minutes.
    static let defaultModel = "densenet-bc-22-12"

    var imagesPerStep: Int? {
        schedule.batchSize ?? before?.batchSize ?? ScheduleOptions.defaults.batchSize
    }

    var imagesTogether: Int { statistics.statisticsGroup ?? before?.statistics.unit ?? 1 }

    /// The run to resume, as it is so far.
    private var before: RunConfiguration? {
        guard runFolder.resume != nil, let folder = runFolder.folder else { return nil }
        return try? RunConfiguration(path: folder + "/config.json")
    }

    func run() throws {
        if plan.printConfig { return try onOneProcess { Console.say(try yaml(of: resolved())) } }
        // Before MPI, whose start takes a moment: a signal is not lost.
        StopSignal.listen(patience: safety.watchdog.collectiveTimeout)
        let values = [
            NamedValue("--resume", runFolder.resume ?? "none"), dataOptions.kind,
            NamedValue("--out", runFolder.out ?? "none"),
            NamedValue("--dry-run", "\(plan.dryRun)"),
        ]
        try withWatchedRanks(safety.watchdog, agreeingOn: values) { world, watchdog in
            if plan.dryRun { return try estimate(world) }
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
                    resuming: resume, threads: threads.threads, loaderThreads: loader.loaderThreads,
                    stepMetrics: logging.stepMetrics, watchdog: watchdog,
                    observer: report, communicator: world
                ) { configuration in
                    if let out = runFolder.out, !isSameFile(out, resume) {
                        throw Failure(.usage, "--out is \(out), but the run to resume is in \(resume); leave it out")
                    }
                    try network.apply(to: &configuration)
                    try apply(to: &configuration)
                }
            } else {
                // A folder of images may be missing on one host only.
                let configuration = try world.throwOnAllRanks { try newRun() }
                run = try TrainingRun(
                    configuration, path: runFolder.out, threads: threads.threads, loaderThreads: loader.loaderThreads,
                    stepMetrics: logging.stepMetrics,
                    watchdog: watchdog, observer: report, communicator: world)
            }
            Launcher.hasBegun.store(true, ordering: .relaxed)
            if runFolder.isAuto, run.isFinished {
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
        guard runFolder.isAuto, let out = runFolder.out else { return runFolder.resume }
        let isThere = try world.onRankZero { try RunFolderOptions.holdsRun(out) }
        if world.rank == 0 {
            say(isThere ? "resuming the run in \(out)" : "beginning a new run in \(out)")
        }
        return isThere ? out : nil
    }

    /// The run that the options ask for.
    private func resolved() throws -> RunConfiguration {
        var configuration: RunConfiguration
        if let folder = runFolder.folder, runFolder.resume != nil,
            try !runFolder.isAuto || RunFolderOptions.holdsRun(folder)
        {
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
        if let threads = loader.loaderThreads {
            entries.append(ConfigEntry(name: "loader-threads", value: "\(threads)"))
        }
        entries.append(ConfigEntry(name: "collective-timeout", value: "\(safety.watchdog.collectiveTimeout)"))
        entries += logging.entries
        if let out = runFolder.out { entries.append(ConfigEntry(name: "out", value: out)) }
        return RunOptions.yaml(entries, CommandOptions(Self.self))
    }

    private func estimate(_ world: Communicator) throws {
        let configuration = try world.throwOnAllRanks { try resolved() }
        let estimate = try RunEstimate(configuration, threads: threads.threads, communicator: world)
        guard world.rank == 0 else { return }
        Console.say(try yaml(of: configuration))
        Console.say(estimate.report(batchSize: configuration.batchSize, folder: runFolder.folder ?? "runs"))
    }

    private func newRun() throws -> RunConfiguration {
        let shape = try dataOptions.shape(seed: schedule.seed ?? RunConfiguration.standard.seed)
        let arePictures = shape != nil && shape?.imageSize == nil
        let (model, network) = try network.network(
            default: Self.defaultModel, classes: shape?.classes ?? SyntheticImages.classNames.count,
            image: arePictures ? nil : shape?.imageSize ?? CIFAR.imageSize)
        var configuration = RunConfiguration(
            model: model, network: network,
            epochs: shape == nil ? ScheduleOptions.syntheticEpochs : RunConfiguration.standard.epochs)
        if arePictures, network.stem == .imagenet { configuration.augmentation = .standardOfPictures }
        try apply(to: &configuration)
        return configuration
    }

    /// Sets what is given, but for the network.
    private func apply(to run: inout RunConfiguration) throws {
        try dataOptions.apply(to: &run.data)
        run.normalization = try dataOptions.normalization() ?? run.normalization
        run.augmentation = augmentation.augment ?? run.augmentation
        run.testImage = testImage.testImage ?? run.testImage
        run.finalViews = finalViews.views ?? run.finalViews
        try schedule.apply(to: &run)
        bestEpoch.apply(to: &run)
        run.statistics = try statistics.value() ?? run.statistics
        optimizer.apply(to: &run)
        run.precision = precision.precision ?? run.precision
        fineTuning.apply(to: &run)
        runFolder.apply(to: &run.faults)
        safety.apply(to: &run.faults)
    }
}

/// What to print in place of training.
struct PlanOptions: ParsableArguments {
    @Flag(help: "Time three steps, print what the run will take, and end; writes nothing.")
    var dryRun = false

    @Flag(help: "Print the options as resolved, for --config, and end.")
    var printConfig = false
}

extension Communicator {
    /// What rank zero finds. Collective.
    fileprivate func onRankZero(_ holds: () throws -> Bool) throws -> Bool {
        let found = try throwOnAllRanks { try rank == 0 && holds() }
        return try broadcast(found ? 1.0 : 0.0, from: 0) > 0
    }
}
