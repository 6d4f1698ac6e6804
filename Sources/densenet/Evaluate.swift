import ArgumentParser
import DenseNetModel
import ImageData
import Kernels
import Safetensors
import Support
import Training

struct Evaluate: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Loss, accuracy and each class's accuracy of weights on test images.",
        discussion: """
            The result of a run, on the test images of CIFAR-10:
              ./launch.sh -n 2 evaluate --weights runs/first --data cifar10
            On synthetic images, for another program:
              ./launch.sh evaluate --weights runs/first/best.safetensors --json
            On the first thousand test images, in larger steps:
              ./launch.sh evaluate --weights runs/first --limit-test 1000 --batch-size 256
            """)

    @OptionGroup(title: "Weights") var weights: WeightsOptions
    @OptionGroup(title: "Network (default: as the weights file says)") var network: NetworkOptions
    @OptionGroup(title: "Data") var dataOptions: DataOptions
    @OptionGroup(title: "Data") var imageSeed: ImageSeedOptions
    @OptionGroup(title: "Output") var json: JSONOptions
    @OptionGroup(title: "Speed") var batch: BatchOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Speed") var precision: PrecisionOptions
    @OptionGroup(title: "Logging") var logging: LoggingOptions
    @OptionGroup(title: "Safety") var watchdog: WatchdogOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    /// What the ranks have to agree on.
    private struct Configuration {
        let network: DenseNetConfiguration
        let data: RunConfiguration.DataSource
        /// Nil for that of the weights file.
        let normalization: RunConfiguration.NormalizationChoice?
        let precision: Precision
        let batchSize: Int
        let seed: UInt64
    }

    func run() throws {
        try withWatchedRanks(watchdog, agreeingOn: [dataOptions.kind]) { world, _ in
            let (file, configuration) = try world.throwOnAllRanks {
                let (file, warnings) = try GivenWeights.file(at: weights.path)
                if world.rank == 0 { for warning in warnings { Console.note(warning) } }
                return (file, try resolved(for: file))
            }
            try world.requireSameOptions(NamedValue.all(of: configuration, except: ["path"]))
            let (network, ready) = try world.throwOnAllRanks {
                let network = try DenseNet(
                    configuration.network, capacity: world.maximumLocalBatchSize(of: batch.batchSize),
                    threads: threads.threads ?? world.defaultThreads, precision: precision.value,
                    overhead: MemoryOverhead(ranks: world.localSize, batches: 2, threads: 1))
                try GivenWeights.load(file, into: network)
                return (
                    network,
                    configuration.normalization == nil
                        ? try Normalization(metadata: file.metadata, path: file.path) : nil
                )
            }
            try world.requireSameWeights(file.path, [network.parameters, network.runningStatistics])
            let data = try RunData(
                configuration.data, seed: configuration.seed, imageSize: configuration.network.image,
                classes: configuration.network.classes, normalization: configuration.normalization ?? .channel,
                ready: ready, communicator: world)
            if world.rank == 0 { for warning in data.warnings { Console.note(warning) } }
            let evaluator = try world.throwOnAllRanks {
                try Evaluator(
                    network, images: data.test, batchSize: batch.batchSize, normalization: data.normalization,
                    communicator: world)
            }
            let machine = try RunMachine(
                threads: threads.threads ?? world.defaultThreads, communicator: world)
            let saysMore = world.rank == 0 && logging.verbose && !json.isOn
            if saysMore { for line in [machine.summary] + machine.details { Console.say(line) } }
            var line =
                world.rank == 0 && !logging.quiet
                ? ProgressLine(
                    phase: "Test", total: evaluator.steps, pace: logging.logEvery.map { .steps($0) } ?? .tenths) : nil
            let began = monotonicSeconds()
            let result = try evaluator.run(advanced: { line?.update(done: $0, loss: $1, accuracy: $2) })
            line?.finish()
            if saysMore {
                let seconds = monotonicSeconds() - began
                let rate = (Double(data.test.count) / seconds).formatted(places: 1)
                Console.say("evaluated in \(duration(seconds)), \(rate) images/s")
            }
            if world.rank == 0, let result {
                try report(result, names: ClassNames(data.test.classNames ?? []), path: file.path)
            }
        }
    }

    private func resolved(for file: SafetensorsFile) throws -> Configuration {
        try batch.requireValid()
        var data = RunConfiguration.DataSource()
        try dataOptions.apply(to: &data)
        let network = try network.network(of: file) {
            let shape = try dataOptions.shape()
            return (shape?.classes ?? SyntheticImages.classNames.count, shape?.imageSize ?? CIFAR.imageSize)
        }
        return Configuration(
            network: network, data: data, normalization: try dataOptions.normalization(),
            precision: precision.value, batchSize: batch.batchSize, seed: imageSeed.seed)
    }

    private func report(_ result: Evaluation, names: ClassNames, path: String) throws {
        let classes = result.total.indices.filter { result.total[$0] > 0 }.map { label in
            Report.Class(
                name: names[label], correct: result.correct[label], images: result.total[label])
        }
        let images = result.total.reduce(0, +)
        guard !json.isOn else {
            return try Console.say(
                json: Report(
                    weights: path, images: images, loss: result.loss, accuracy: result.accuracy, classes: classes))
        }
        Console.say("\(path): \(images) images")
        Console.say(
            "Test loss: \(result.loss.formatted(places: 4)), Test accuracy: \(result.accuracy.formatted(places: 4))")
        for row in classes {
            let share = (100 * Double(row.correct) / Double(row.images)).formatted(places: 2, width: 6)
            Console.say("\(share) %  \(row.name) (\(row.correct) of \(row.images))")
        }
    }
}

/// What `--json` prints.
private struct Report: Encodable {
    struct Class: Encodable {
        let name: String
        let correct, images: Int
    }

    let weights: String
    let images: Int
    let loss, accuracy: Double
    let classes: [Class]
}
