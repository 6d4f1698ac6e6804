import ArgumentParser
import DenseNetModel
import Support

/// The options that name a network, by its name or piece by piece.
struct NetworkOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Network: \(DenseNetConfiguration.modelNames).", valueName: "model"))
    var model: String?

    @Option(help: ArgumentHelp("Layers of each dense block, as 16,16,16, in place of --model.", valueName: "n,n,…"))
    var blocks: String?

    @Option(help: "Channels that a dense layer adds (with --blocks; default 12 with the CIFAR stem, else 32).")
    var growthRate: Int?

    @Option(help: "What stands before the first block: cifar or imagenet (with --blocks; default cifar).")
    var stem: String?

    @Option(
        help:
            "Channels that the stem makes (with --blocks; default twice the growth rate, or 16 for a plain CIFAR net).")
    var stemChannels: Int?

    @Flag(help: "Dense layers without bottleneck (with --blocks).")
    var noBottleneck = false

    @Option(
        help: "The share of channels that a transition keeps (with --blocks; default 0.5, or 1 without bottleneck).")
    var compression: Double?

    @Option(help: "The probability that an element of a convolution's output is dropped in training.")
    var dropout: Double?

    @Option(help: "Number of classes (default: the data's).")
    var classes: Int?

    @Option(help: "Height and width of the images in pixels (default: the data's).")
    var image: Int?

    /// Whether any of the options is given.
    var isGiven: Bool {
        model != nil || blocks != nil || growthRate != nil || stem != nil || stemChannels != nil || noBottleneck
            || compression != nil
            || dropout != nil || classes != nil || image != nil
    }

    /// The network, with the data's classes and image size where no option says otherwise.
    ///
    /// - Throws: `Failure(.usage)` on an unknown name, options that contradict each other or an impossible network.
    func configuration(defaultModel: String, classes: Int?, image: Int?) throws -> (
        name: String, network: DenseNetConfiguration
    ) {
        var network: DenseNetConfiguration
        if let blocks {
            guard model == nil else { throw Failure(.usage, "--model and --blocks both name a network; leave one out") }
            network = try custom(blocks, classes: self.classes ?? classes ?? 10, image: self.image ?? image)
        } else {
            let given: [(String, Bool)] = [
                ("--growth-rate", growthRate != nil), ("--stem", stem != nil), ("--stem-channels", stemChannels != nil),
                ("--no-bottleneck", noBottleneck), ("--compression", compression != nil),
            ]
            if let (option, _) = given.first(where: \.1) {
                throw Failure(.usage, "\(option) goes with --blocks; a --model has its own")
            }
            network = try DenseNetConfiguration(
                model: model ?? defaultModel, classes: self.classes ?? classes, image: self.image ?? image)
        }
        network.dropout = dropout ?? 0
        try network.validate()
        return (blocks == nil ? model ?? defaultModel : "custom", network)
    }

    private func custom(_ text: String, classes: Int, image: Int?) throws -> DenseNetConfiguration {
        let blocks = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
        guard let kind = DenseNetConfiguration.Stem(rawValue: stem ?? "cifar") else {
            throw Failure(.usage, "--stem is \(stem ?? ""), expected cifar or imagenet")
        }
        let growthRate = growthRate ?? (kind == .cifar ? 12 : 32)
        return DenseNetConfiguration(
            stem: kind, blocks: blocks, growthRate: growthRate,
            stemChannels: stemChannels ?? (kind == .cifar && noBottleneck ? 16 : min(growthRate, 65536) * 2),
            bottleneck: !noBottleneck, compression: compression ?? (noBottleneck ? 1 : 0.5), classes: classes,
            image: image ?? (kind == .cifar ? 32 : 224))
    }
}
