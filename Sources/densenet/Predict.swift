import ArgumentParser
import DataParallel
import DenseNetModel
import ImageData
import Kernels
import Safetensors
import Support
import Training

struct Predict: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "The most probable classes of pictures.",
        discussion: """
            A picture is resized as a whole to the network's image size and normalized as
            the weights file says. One that cannot be read is a line on standard error;
            the others go on, and the exit code is 65.

            The three most probable classes of two pictures:
              ./launch.sh -n 1 predict --weights runs/first cat.jpeg dog.png --top 3

            All pictures of a folder, as a table for another program:
              ./launch.sh predict --weights runs/first --format csv photos/*.jpeg

            Images of CIFAR, with more numbers:
              ./launch.sh -n 2 predict --weights runs/first --logits test_batch.bin
            """)

    @Argument(
        help: ArgumentHelp("Pictures: PNG, JPEG, or .bin files of records as CIFAR has them.", valueName: "file"),
        completion: .file())
    var files: [String]

    @OptionGroup(title: "Weights") var weights: WeightsOptions
    @OptionGroup(title: "Network (default: as the weights file says)") var network: NetworkOptions
    @OptionGroup(title: "Normalization") var colours: ColourOptions
    @OptionGroup(title: "Output") var printed: OutputOptions
    @OptionGroup(title: "Speed") var batch: BatchOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Speed") var precision: PrecisionOptions
    @OptionGroup(title: "Safety") var watchdog: WatchdogOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct ColourOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "Means of the colours, in 0 to 1, with --std (default: the weights file's).", valueName: "r,g,b"),
            transform: { try numberList($0, like: "0.485,0.456,0.406") })
        var mean: [Float]?

        @Option(
            help: ArgumentHelp(
                "Deviations of the colours, in 0 to 1, with --mean (default: the weights file's).", valueName: "r,g,b"),
            transform: { try numberList($0, like: "0.229,0.224,0.225") })
        var std: [Float]?
    }

    struct OutputOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Classes to print per picture.", valueName: "n"))
        var top = 5

        @Option(
            help: ArgumentHelp(
                "How to print: text, json (an array of objects) or csv (a line per class).", valueName: "name"))
        var format: PredictionFormat = .text

        @Flag(help: "The same as --format json.")
        var json = false

        func validate() throws {
            guard !json || format != .csv else {
                throw ValidationError("--json and --format csv contradict each other; leave one out")
            }
        }

        @Flag(help: "Print logits beside probabilities.")
        var logits = false
    }

    /// What the ranks have to agree on.
    private struct Configuration {
        let network: DenseNetConfiguration
        let mean: [Float]?
        let std: [Float]?
        let precision: Precision
        let batchSize: Int
    }

    var imagesPerStep: Int? { batch.batchSize }

    func run() throws {
        let list = NamedValue("the list of pictures", files.joined(separator: "\n"), shown: "\(files.count) files")
        try withWatchedRanks(watchdog, agreeingOn: [list]) { world, _ in
            let (file, configuration) = try world.throwOnAllRanks {
                let (file, warnings) = try GivenWeights.file(at: weights.path)
                if world.rank == 0 { for warning in warnings { Console.note(warning) } }
                return (file, try resolved(for: file))
            }
            try world.requireSameOptions(NamedValue.all(of: configuration))
            let predictor = try world.throwOnAllRanks {
                try makePredictor(configuration, file, world)
            }
            let names = try world.throwOnAllRanks {
                try ClassNames(metadata: file.metadata, classes: configuration.network.classes, path: file.path)
            }
            try world.requireSameWeights(
                file.path, [predictor.network.parameters, predictor.network.runningStatistics])
            let pictures = try PictureList(files, classes: configuration.network.classes, communicator: world)
            let output = PredictionOutput(
                format: printed.json ? .json : printed.format, top: printed.top, showsLogits: printed.logits,
                names: names)
            let broken = try predictAll(pictures, predictor, world, output)
            guard broken == 0 else {
                throw world.markAgreed(
                    Failure(.data, "\(broken) of \(pictures.count) pictures could not be used; the lines above say why")
                )
            }
        }
    }

    /// Goes through all pictures, each rank on every `size`-th; rank zero prints. Collective.
    ///
    /// - Returns: the number of pictures that could not be used.
    private func predictAll(
        _ pictures: PictureList, _ predictor: Predictor, _ world: Communicator, _ output: PredictionOutput
    ) throws -> Int {
        var broken = 0
        if world.rank == 0 { output.begin() }
        let perRound = predictor.network.capacity * world.size
        var isFirst = true
        for start in stride(from: 0, to: pictures.count, by: perRound) {
            let round = start..<min(start + perRound, pictures.count)
            world.progress.enter("pictures", round.upperBound, of: pictures.count)
            let own = stride(from: start + world.rank, to: round.upperBound, by: world.size)
            let answers = try world.throwOnAllRanks { try predictor.answers(own.map { $0 }, of: pictures) }
            broken += Int(try world.allReduceSum(Int64(answers.count { $0.failure != nil })))
            let gathered = try world.allGather(bytes: PredictionAnswer.encode(answers))
            try world.throwOnAllRanks {
                guard world.rank == 0 else { return }
                let byRank = try gathered.map { try PredictionAnswer.decode($0) }
                for index in round {
                    let answer = byRank[(index - start) % world.size][(index - start) / world.size]
                    if let failure = answer.failure {
                        Console.note(failure)
                    } else {
                        try output.add(pictures[index], answer.logits, isFirst: isFirst)
                        isFirst = false
                    }
                }
            }
        }
        if world.rank == 0 { output.end() }
        return broken
    }

    private func resolved(for file: SafetensorsFile) throws -> Configuration {
        try batch.requireValid()
        guard printed.top >= 1 else { throw Failure(.usage, "--top is \(printed.top), expected 1 or more") }
        let network = try network.network(of: file) {
            (classes: file.tensors["classifier.bias"]?.shape.first, image: nil)
        }
        return Configuration(
            network: network, mean: colours.mean, std: colours.std, precision: precision.value,
            batchSize: batch.batchSize)
    }

    private func makePredictor(
        _ configuration: Configuration, _ file: SafetensorsFile, _ world: Communicator
    ) throws -> Predictor {
        let normalization = try normalization(for: file)
        let shape = configuration.network
        try normalization.validate(channels: shape.imageChannels, height: shape.image, width: shape.image)
        let network = try DenseNet(
            configuration.network, capacity: world.maximumLocalBatchSize(of: batch.batchSize),
            threads: threads.threads ?? world.defaultThreads, precision: precision.value,
            overhead: MemoryOverhead(ranks: world.localSize, batches: 1))
        try GivenWeights.load(file, into: network)
        return Predictor(network, normalization)
    }

    private func normalization(for file: SafetensorsFile) throws -> Normalization {
        if colours.mean != nil || colours.std != nil {
            guard let mean = colours.mean, let std = colours.std else {
                throw Failure(.usage, "--mean and --std go together; give both")
            }
            return try Normalization(mean: mean, std: std)
        }
        guard let normalization = try Normalization(metadata: file.metadata, path: file.path) else {
            throw Failure(
                .usage,
                "\(file.path) does not say how its images were normalized; give --mean and --std (torchvision's: "
                    + "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225)")
        }
        return normalization
    }
}
