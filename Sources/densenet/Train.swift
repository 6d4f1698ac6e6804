import ArgumentParser
import ImageData
import Support
import Training

struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a network; without options a small one on synthetic images.",
        discussion: "The recipe is the paper's (arXiv 1608.06993, section 4.2) where no option says otherwise.")

    @OptionGroup(title: "Network") var network: NetworkOptions
    @OptionGroup(title: "Data") var dataOptions: DataOptions

    @Option(help: "Random changes of training images: crop,flip,jitter,cutout or none (default crop,flip).")
    var augment: String?

    @Option(help: "Epochs (default 300, or 5 on synthetic images).")
    var epochs: Int?

    @Option(help: "Stop after so many steps in all.")
    var steps: Int?

    @Option(help: "Images of a step over all ranks (default 64).")
    var batchSize: Int?

    @Option(help: "The highest learning rate (default 0.1).")
    var learningRate: Double?

    @Option(help: "step (default), cosine, one-cycle or constant.")
    var schedule: String?

    @Option(
        help: ArgumentHelp(
            "With step: fractions of the epochs where the rate drops to a tenth (default 0.5,0.75).", valueName: "f,f,…"
        ))
    var milestones: String?

    @Option(help: "Epochs over which the learning rate climbs to its height (default 0).")
    var warmUp: Int?

    @Option(help: "Momentum (default 0.9).")
    var momentum: Double?

    @Flag(inversion: .prefixedNo, help: "Nesterov's momentum (default: on).")
    var nesterov: Bool?

    @Option(help: "Weight decay (default 0.0001).")
    var weightDecay: Double?

    @Flag(inversion: .prefixedNo, help: "Whether norms and biases decay too (default: they do).")
    var decayNorm: Bool?

    @Option(help: "The share of the target spread over all classes (default 0).")
    var labelSmoothing: Double?

    @Option(help: "What all random numbers are drawn from (default 1).", transform: seedNumber)
    var seed: UInt64?

    @Flag(help: "Go through the training images in their order.")
    var noShuffle = false

    @Option(
        name: .customLong("init"),
        help: ArgumentHelp("Start from the weights of a safetensors file.", valueName: "file"))
    var initialWeights: String?

    @OptionGroup(title: "Safety (also with --resume, for that start)") var guards: GuardOptions
    @OptionGroup(title: "Threads") var threads: ThreadOptions
    @OptionGroup(title: "Precision") var precision: PrecisionOptions
    @OptionGroup(title: "Watchdog") var watchdog: WatchdogOptions

    @Option(help: ArgumentHelp("The run folder (default: a new one below runs/).", valueName: "folder"))
    var out: String?

    @Option(
        help: ArgumentHelp(
            "Go on with the run in a folder, by its own options; --epochs makes it longer, --threads, --collective-timeout and safety may differ.",
            valueName: "folder"))
    var resume: String?

    /// Under `./launch.sh` alone this is done in a few minutes.
    private static let defaultModel = "densenet-bc-22-12"

    func run() throws {
        // Before MPI, whose start takes a moment: a signal is not lost.
        StopSignal.listen(patience: watchdog.collectiveTimeout)
        if let resume {
            guard !hasOtherOptions else {
                throw Failure(
                    .usage,
                    "--resume takes the run's own options; only --epochs and those of safety and threads go with it")
            }
            let safety = try guards.resolved()
            try withWatchedRanks(watchdog) {
                defer { Console.forgiveLostOutput() }
                try TrainingRun(
                    resuming: resume, epochs: epochs, safety: safety, threads: threads.threads, watchdog: $1,
                    communicator: $0
                ).run()
            }
        }
        try withWatchedRanks(watchdog) { world, watchdog in
            defer { Console.forgiveLostOutput() }
            // A folder of images may be missing on one host only.
            let configuration = try world.throwOnAllRanks { try resolved() }
            try TrainingRun(configuration, path: out, threads: threads.threads, watchdog: watchdog, communicator: world)
                .run()
        }
    }

    private func resolved() throws -> RunConfiguration {
        let source = dataOptions.source
        let shape = try source.path.map { try CIFAR.shape(of: $0) }
        let (model, network) = try network.configuration(
            defaultModel: Self.defaultModel, classes: shape?.classes ?? SyntheticImages.classNames.count,
            image: shape?.imageSize ?? (network.image == nil ? CIFAR.imageSize : nil))
        return RunConfiguration(
            model: model, network: network, data: source, epochs: epochs ?? (source.path == nil ? 5 : 300),
            steps: steps, batchSize: batchSize ?? 64, seed: seed ?? 1, shuffle: !noShuffle,
            schedule: try LearningRateSchedule(
                schedule: schedule ?? "step", milestones: milestones, learningRate: learningRate ?? 0.1,
                warmUpEpochs: warmUp ?? 0),
            optimizer: OptimizerConfiguration(
                momentum: momentum ?? 0.9, nesterov: nesterov ?? true, weightDecay: weightDecay ?? 1e-4,
                decaysNorms: decayNorm ?? true),
            labelSmoothing: labelSmoothing ?? 0, augment: augment ?? "crop,flip",
            normalization: try dataOptions.normalization() ?? .channel, precision: precision.precision,
            initialWeights: initialWeights.map(absolutePath), safety: try guards.resolved())
    }

    private var hasOtherOptions: Bool {
        network.isGiven || dataOptions.isGiven || augment != nil || steps != nil || batchSize != nil
            || learningRate != nil || schedule != nil || milestones != nil || warmUp != nil || momentum != nil
            || nesterov != nil
            || precision.precision != nil || weightDecay != nil || decayNorm != nil || labelSmoothing != nil
            || seed != nil || noShuffle
            || initialWeights != nil || out != nil
    }
}
