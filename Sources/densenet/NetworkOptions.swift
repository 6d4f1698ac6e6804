import ArgumentParser
import DenseNetModel
import Safetensors
import Support
import Training

/// The options that name a network, by its name or piece by piece.
struct NetworkOptions: ParsableArguments {
    /// Of the models without end, those of the paper and the small ones are offered.
    static let modelCompletion = CompletionKind.list(
        [
            "densenet-bc-22-12", "densenet-bc-40-12", "densenet-40-12", "densenet-100-12", "densenet-100-24",
            "densenet-bc-100-12", "densenet-bc-250-24", "densenet-bc-190-40", "densenet121", "densenet161",
            "densenet169", "densenet201", "densenet264",
        ])

    @Option(
        help: ArgumentHelp(
            "One of \(DenseNetConfiguration.modelNames) (default: that of the weights; train: \(Train.defaultModel); bench: \(Bench.defaultModel)).",
            valueName: "name"), completion: modelCompletion)
    var model: String?

    @Option(
        help: ArgumentHelp(
            "Layers of each dense block, as 16,16,16, in place of --model (default: the model's).", valueName: "n,n,..."
        ),
        transform: { try numberList($0, like: "16,16,16") })
    var blocks: [Int]?

    @Option(
        help: ArgumentHelp(
            "Channels that a dense layer adds, or one number per block, as 16,32,64 (with --blocks; default: 12 with the CIFAR stem, else 32).",
            valueName: "channels"), transform: { try numberList($0, like: "12 or 16,32,64") })
    var growthRate: [Int]?

    @Option(
        help: ArgumentHelp(
            "What stands before the first block (with --blocks; default: cifar).", valueName: "name"))
    var stem: DenseNetConfiguration.Stem?

    @Option(
        help: ArgumentHelp(
            "Stride of the CIFAR stem's convolution, 1 or 2 (with --blocks; default: 1).", valueName: "pixels"))
    var stemStride: Int?

    @Option(
        help: ArgumentHelp(
            "Channels that the stem makes (with --blocks; default: twice the first growth rate, or 16 for a plain CIFAR net).",
            valueName: "channels"))
    var stemChannels: Int?

    @Flag(help: "Dense layers without bottleneck (with --blocks).")
    var noBottleneck = false

    @Option(
        help: ArgumentHelp(
            "The share of channels that a transition keeps, 0 to 1 (with --blocks; default: 0.5, or 1 without bottleneck).",
            valueName: "share"))
    var compression: Double?

    @Option(
        help: ArgumentHelp(
            "The probability that an element of a convolution's output is dropped in training, 0 to 1 (default: 0).",
            valueName: "probability"))
    var dropout: Double?

    @Option(help: ArgumentHelp("Number of classes (default: the data's, or the model's).", valueName: "n"))
    var classes: Int?

    @Option(
        help: ArgumentHelp(
            "Height and width of the images (default: the data's, or the model's).", valueName: "pixels"))
    var image: Int?

    @Option(
        help: ArgumentHelp(
            "Channels of the images: 3 for colours, 1 for grey (default: that of the weights, else 3).",
            valueName: "n"))
    var channels: Int?

    /// The network that the options name.
    ///
    /// - Parameters:
    ///   - model: where neither `--model` nor `--blocks` is given.
    ///   - classes: where no option says otherwise, and `image`; nil for what is usual for the network.
    /// - Throws: `Failure(.usage)` on an unknown name, options that contradict each other or an impossible network.
    func network(
        default model: String, classes: Int? = nil, image: Int? = nil
    ) throws -> (model: String, network: DenseNetConfiguration) {
        let (classes, image) = (self.classes ?? classes, self.image ?? image)
        var named: (model: String, network: DenseNetConfiguration)
        if let blocks {
            guard self.model == nil else {
                throw Failure(.usage, "--model and --blocks both name a network; leave one out")
            }
            named = (RunConfiguration.customModel, custom(blocks, classes: classes, image: image))
        } else {
            try requireNoPieces()
            let model = self.model ?? model
            named = (model, try DenseNetConfiguration(model: model, classes: classes, image: image))
        }
        named.network.dropout = dropout ?? 0
        named.network.imageChannels = channels ?? 3
        try named.network.validate()
        return named
    }

    /// The network that the options name, or else that of a weights file.
    ///
    /// - Parameter shape: classes and image where options name the network and do not say them; nil for what is usual.
    /// - Throws: as `network(default:classes:image:)`; `Failure(.usage)` also where nothing names the network.
    func network(
        of file: SafetensorsFile, shape: () throws -> (classes: Int?, image: Int?)
    ) throws -> DenseNetConfiguration {
        guard model == nil, blocks == nil else {
            let (classes, image) = try shape()
            return try network(default: "", classes: classes, image: image).network
        }
        guard let configuration = try WeightsFile.configuration(in: file) else {
            throw Failure(.usage, "\(file.path) does not say which network it is of; name it with --model")
        }
        return configuration
    }

    /// Sets what is given in the network of a run.
    ///
    /// - Throws: as `network(default:classes:image:)`.
    func apply(to run: inout RunConfiguration) throws {
        let before = run.network
        if model != nil || blocks != nil && run.model != RunConfiguration.customModel {
            (run.model, run.network) = try network(default: "", classes: before.classes, image: before.image)
            run.network.dropout = dropout ?? before.dropout
            run.network.imageChannels = channels ?? before.imageChannels
            return
        }
        if run.model != RunConfiguration.customModel { try requireNoPieces() }
        let blocks = blocks ?? before.blocks
        run.network = DenseNetConfiguration(
            stem: stem ?? before.stem, stemStride: stemStride ?? (stem == nil ? before.stemStride : nil),
            blocks: blocks,
            growthRates: growthRate ?? before.growthRates,
            stemChannels: stemChannels ?? before.stemChannels, bottleneck: before.bottleneck && !noBottleneck,
            compression: compression ?? before.compression, dropout: dropout ?? before.dropout,
            classes: classes ?? before.classes, image: image ?? before.image,
            imageChannels: channels ?? before.imageChannels)
    }

    /// Refuses options that go with `--blocks` alone.
    private func requireNoPieces() throws {
        let pieces: [(String, Bool)] = [
            ("--growth-rate", growthRate != nil), ("--stem", stem != nil), ("--stem-stride", stemStride != nil),
            ("--stem-channels", stemChannels != nil),
            ("--no-bottleneck", noBottleneck), ("--compression", compression != nil),
        ]
        if let (option, _) = pieces.first(where: \.1) {
            throw Failure(.usage, "\(option) goes with --blocks; a --model has its own")
        }
    }

    private func custom(_ blocks: [Int], classes: Int?, image: Int?) -> DenseNetConfiguration {
        let stem = stem ?? .cifar
        let growthRates = growthRate ?? [stem == .cifar ? 12 : 32]
        return DenseNetConfiguration(
            stem: stem, stemStride: stemStride, blocks: blocks, growthRates: growthRates,
            stemChannels: stemChannels
                ?? (stem == .cifar && noBottleneck ? 16 : min(growthRates.first ?? 0, 65536) * 2),
            bottleneck: !noBottleneck, compression: compression ?? (noBottleneck ? 1 : 0.5), classes: classes ?? 10,
            image: image ?? (stem == .cifar ? 32 : 224))
    }
}
