import ArgumentParser
import DataParallel
import DenseNetModel
import ImageData
import Kernels
import Reporting
import Safetensors
import Support
import Training

struct Evaluate: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Loss, accuracy and each class's recall, precision and AUROC on test images.",
        discussion: """
            Several weights give a table, and with --json an array.

            The result of a run, on the test images of CIFAR-10:
              ./launch.sh -n 2 evaluate --weights runs/first --data cifar10

            Two runs beside each other, and what they take for what:
              ./launch.sh evaluate --weights runs/first runs/second --report errors

            The best epoch on the first thousand test images, for another program:
              ./launch.sh evaluate --weights runs/first/best.safetensors \\
                  --limit-test 1000 --json
            """)

    @OptionGroup(title: "Weights") var weights: WeightsOptions
    @OptionGroup(title: "Network (default: as the weights file says)") var network: NetworkOptions
    @OptionGroup(title: "Data") var dataOptions: DataOptions
    @OptionGroup(title: "Data") var imageSeed: ImageSeedOptions
    @OptionGroup(title: "Data") var testImage: TestImageOptions
    @OptionGroup(title: "Data") var views: ViewOptions
    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Speed") var batch: BatchOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Speed") var loader: LoaderOptions
    @OptionGroup(title: "Speed") var precision: PrecisionOptions
    @OptionGroup(title: "Logging") var logging: LoggingOptions
    @OptionGroup(title: "Safety") var watchdog: WatchdogOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct WeightsOptions: ParsableArguments {
        @Option(
            name: .customLong("weights"), parsing: .upToNextOption,
            help: ArgumentHelp(
                "Weights (safetensors or .pth, ours or PyTorch's), checkpoints, or run folders: their results, or newest checkpoints. Required.",
                valueName: "file|run"), completion: .file())
        var paths: [String]
    }

    struct ViewOptions: ParsableArguments {
        @Option(
            name: .customLong("tta"),
            help: ArgumentHelp(
                "Test-time augmentation: with flip, the mean of the outputs for each image and its mirror image (default: none).",
                valueName: "name"))
        var name = Evaluator.Views.image
    }

    struct OutputOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "Write confusion.csv, mistakes.csv and mistakes.png there; of several weights to folders 1, 2, ... in it (default: no files).",
                valueName: "folder"), completion: .directory)
        var report: String?

        @OptionGroup var json: JSONOptions
    }

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

    var imagesPerStep: Int? { batch.batchSize }

    func run() throws {
        let values = [
            dataOptions.kind, NamedValue("the number of --weights", "\(weights.paths.count)"),
            NamedValue("--tta", views.name.rawValue),
            NamedValue("--report", output.report == nil ? "none" : "a folder"),
        ]
        try withWatchedRanks(watchdog, agreeingOn: values) { world, _ in
            var reports: [Report] = []
            for (place, path) in weights.paths.enumerated() {
                let folder = output.report.map { weights.paths.count == 1 ? $0 : "\($0)/\(place + 1)" }
                let result = try evaluate(path, reportingTo: folder, world, isFirst: place == 0)
                if let result { reports.append(result) }
            }
            guard world.rank == 0 else { return }
            if output.json.isOn {
                return try reports.count == 1 ? Console.say(json: reports[0]) : Console.say(json: reports)
            }
            if reports.count == 1 { say(reports[0]) } else { sayTable(reports) }
        }
    }

    /// Evaluates one file or run folder. Collective.
    ///
    /// - Parameter folder: where its files go, written by rank zero.
    private func evaluate(
        _ path: String, reportingTo folder: String?, _ world: Communicator, isFirst: Bool
    ) throws -> Report? {
        let (file, configuration) = try world.throwOnAllRanks {
            let (file, warnings) = try GivenWeights.file(at: path)
            if world.rank == 0 { for warning in warnings { Console.note(warning) } }
            return (file, try resolved(for: file))
        }
        try world.requireSameOptions(NamedValue.all(of: configuration, except: ["path"]))
        let (network, ready) = try load(file, configuration, world)
        let data = try RunData(
            configuration.data, seed: configuration.seed, network: configuration.network,
            normalization: configuration.normalization ?? .channel, ready: ready, warn: { Console.note($0) },
            communicator: world)
        if world.rank == 0, isFirst { for warning in data.warnings { Console.note(warning) } }
        let evaluator = try world.throwOnAllRanks {
            try Evaluator(
                network, images: data.test, batchSize: configuration.batchSize, normalization: data.normalization,
                mistakeLimit: folder == nil ? 0 : data.test.count,
                loaderThreads: loader.loaderThreads
                    ?? data.test.defaultLoaderThreads(of: threads.threads ?? world.defaultThreads),
                communicator: world)
        }
        if world.rank == 0, isFirst, let refusal = evaluator.scoresRefusal {
            Console.note(Evaluator.note(on: refusal))
        }
        let machine = try RunMachine(threads: threads.threads ?? world.defaultThreads, communicator: world)
        let saysMore = world.rank == 0 && logging.verbose && !output.json.isOn
        if saysMore, isFirst { for line in [machine.summary] + machine.details { Console.say(line) } }
        let began = monotonicSeconds()
        // Nothing stops it early.
        guard let result = try run(evaluator, isShown: world.rank == 0 && !logging.quiet) else { return nil }
        if world.rank == 0 { for line in evaluator.leftOut { Console.note("\(line); left out") } }
        if saysMore {
            let seconds = monotonicSeconds() - began
            let rate = (Double(data.test.count) / seconds).formatted(places: 1)
            Console.say("evaluated in \(duration(seconds)), \(rate) images/s")
        }
        let names = ClassNames(data.test.classNames ?? [])
        try world.throwOnAllRanks {
            guard world.rank == 0, let folder else { return }
            try EvaluationFiles.write(result, of: data.test, names: names, to: folder)
        }
        return Report(result, names, path: file.path, parameters: network.table.parameterCount)
    }

    /// Evaluates, with a line of progress. Collective.
    private func run(_ evaluator: Evaluator, isShown: Bool) throws -> Evaluation? {
        let pace: ProgressLine.Pace = logging.logEvery.map { .steps($0) } ?? .tenths
        var line = isShown ? ProgressLine(phase: "Test", total: evaluator.steps, pace: pace) : nil
        defer { line?.finish() }
        return try evaluator.run(views: views.name, advanced: { line?.update(done: $0, loss: $1, accuracy: $2) })
    }

    /// A network with the weights of a file, and the file's normalization unless an option names one. Collective.
    private func load(
        _ file: SafetensorsFile, _ configuration: Configuration, _ world: Communicator
    ) throws -> (network: DenseNet, normalization: Normalization?) {
        let loaded = try world.throwOnAllRanks {
            let network = try DenseNet(
                configuration.network, capacity: world.maximumLocalBatchSize(of: configuration.batchSize),
                threads: threads.threads ?? world.defaultThreads, precision: precision.value,
                overhead: MemoryOverhead(ranks: world.localSize, batches: 2, threads: 1))
            try GivenWeights.load(file, into: network)
            let isGiven = configuration.normalization != nil
            return (network, isGiven ? nil : try Normalization(metadata: file.metadata, path: file.path))
        }
        try world.requireSameWeights(file.path, [loaded.0.parameters, loaded.0.runningStatistics])
        return loaded
    }

    private func resolved(for file: SafetensorsFile) throws -> Configuration {
        try batch.requireValid()
        var data = RunConfiguration.DataSource()
        try dataOptions.apply(to: &data)
        var network = try network.network(of: file) {
            let shape = try dataOptions.shape(seed: imageSeed.seed)
            return (
                shape?.classes ?? SyntheticImages.classNames.count,
                shape == nil ? CIFAR.imageSize : shape?.imageSize
            )
        }
        network.image = testImage.testImage ?? network.image
        return Configuration(
            network: network, data: data, normalization: try dataOptions.normalization(),
            precision: precision.value, batchSize: batch.batchSize, seed: imageSeed.seed)
    }

    private func say(_ report: Report) {
        let means = [
            ("Macro recall", report.macroRecall), ("Macro precision", report.macroPrecision),
            ("Top-5 accuracy", report.top5), ("AUROC", report.auroc),
        ].compactMap { name, value in value.map { "\(name): \($0.formatted(places: 4))" } }
        let classes = report.classes.map { row in
            let shares = [row.recall, row.precision].map { (100 * $0).formatted(places: 2, width: 6) + " %" }
            let auroc = row.auroc.map { $0.formatted(places: 4, width: 6) } ?? "     –"
            return "\(shares[0])   \(shares[1])  \(auroc)  \(row.name) (\(row.correct) of \(row.images))"
        }
        let lines = [
            "\(report.weights): \(report.images) images",
            "Test loss: \(report.loss.formatted(places: 4)), Test accuracy: \(report.accuracy.formatted(places: 4))",
            means.joined(separator: ", "), "recall    precision   AUROC  class",
        ]
        // At once: whoever reads may be gone after the first line.
        Console.say((lines + classes).joined(separator: "\n"))
    }

    private func sayTable(_ reports: [Report]) {
        Console.say("Test loss  Test accuracy  Macro recall   AUROC  parameters  weights")
        for report in reports {
            let numbers = [
                report.loss.formatted(places: 4, width: 9), report.accuracy.formatted(places: 4, width: 13),
                report.macroRecall?.formatted(places: 4, width: 12) ?? "           –",
                report.auroc?.formatted(places: 4, width: 6) ?? "     –",
                Double(report.parameters).formatted(places: 0, width: 10),
            ]
            Console.say(numbers.joined(separator: "  ") + "  \(report.weights)")
        }
    }
}

/// What `--json` prints of each weights.
private struct Report: Encodable {
    struct Class: Encodable {
        let name: String
        let correct, images: Int
        let recall, precision: Double
        let auroc: Double?
    }

    let weights: String
    let images, parameters: Int
    let loss, accuracy: Double
    /// Missing where the evaluation has none.
    let macroRecall, macroPrecision, top5, auroc: Double?
    let classes: [Class]

    init(_ result: Evaluation, _ names: ClassNames, path: String, parameters: Int) {
        weights = path
        images = result.total.reduce(0, +)
        self.parameters = parameters
        (loss, accuracy) = (result.loss, result.accuracy)
        let measures = result.measures
        (macroRecall, macroPrecision) = (measures.macroRecall, measures.macroPrecision)
        (top5, auroc) = (measures.topFive, measures.auroc)
        let (correct, recall, precision) = (result.correct, result.recall, result.precision)
        classes = result.total.indices.compactMap { label in
            guard let recall = recall[label], let precision = precision[label] else { return nil }
            return Class(
                name: names[label], correct: correct[label], images: result.total[label], recall: recall,
                precision: precision, auroc: result.auroc.isEmpty ? nil : result.auroc[label])
        }
    }
}
