import Support

/// The shape of a DenseNet, and its dropout (arXiv 1608.06993, section 3 and table 1).
public struct DenseNetConfiguration: Sendable, Equatable {
    /// The layers before the first dense block.
    public enum Stem: String, Codable, Sendable, CaseIterable {
        /// 3×3 convolution, no norm, no pool.
        case cifar
        /// 7×7 convolution with stride 2, norm, ReLU, 3×3 max pool with stride 2.
        case imagenet
    }

    /// The layers before the first dense block.
    public var stem: Stem
    /// The stride of the stem's convolution: 1, as in the paper, or 2 for the CIFAR stem, 2 for the other.
    public var stemStride: Int
    /// The number of dense layers per block.
    public var blocks: [Int]
    /// The channels that each dense layer adds, k in the paper: one number for all blocks, as in the paper, or one per
    /// block, as its authors' later code may have (Huang et al., "CondenseNet", 2018).
    public var growthRates: [Int]
    /// The stem's output channels.
    public var stemChannels: Int
    /// Whether a dense layer first reduces its input to 4·k channels by a 1×1 convolution (the paper's B).
    public var bottleneck: Bool
    /// The fraction of its channels that a transition keeps, θ in the paper (below 1: its C).
    public var compression: Double
    /// The probability that an element of a convolution's output is dropped in training.
    public var dropout: Double
    /// The number of classes.
    public var classes: Int
    /// Height and width of the input in pixels.
    public var image: Int
    /// The channels of the input: 3 for red, green and blue, 1 for grey.
    public var imageChannels: Int

    /// Creates a configuration without checking it; see `validate()`.
    ///
    /// - Parameter stemStride: nil for the paper's: 1 of the CIFAR stem, 2 of the other.
    public init(
        stem: Stem, stemStride: Int? = nil, blocks: [Int], growthRates: [Int], stemChannels: Int, bottleneck: Bool,
        compression: Double, dropout: Double = 0, classes: Int, image: Int, imageChannels: Int = 3
    ) {
        self.stem = stem
        self.stemStride = stemStride ?? Self.stemStride(of: stem)
        self.blocks = blocks
        self.growthRates = growthRates.allSatisfy { $0 == growthRates[0] } ? Array(growthRates.prefix(1)) : growthRates
        self.stemChannels = stemChannels
        self.bottleneck = bottleneck
        self.compression = compression
        self.dropout = dropout
        self.classes = classes
        self.image = image
        self.imageChannels = imageChannels
    }

    /// Creates a configuration whose blocks have the same growth rate, without checking it; see `validate()`.
    public init(
        stem: Stem, blocks: [Int], growthRate: Int, stemChannels: Int, bottleneck: Bool, compression: Double,
        dropout: Double = 0, classes: Int, image: Int
    ) {
        self.init(
            stem: stem, blocks: blocks, growthRates: [growthRate], stemChannels: stemChannels,
            bottleneck: bottleneck, compression: compression, dropout: dropout, classes: classes, image: image)
    }

    /// The growth rate of all blocks; nil where they differ.
    public var growthRate: Int? { growthRates.count == 1 ? growthRates[0] : nil }

    /// The channels that each dense layer of a block adds.
    func growthRate(ofBlock block: Int) -> Int { growthRates.count == 1 ? growthRates[0] : growthRates[block] }

    /// For a line of text, such as `growth rate 12`.
    package var growth: String {
        growthRate.map { "growth rate \($0)" } ?? "growth rates \(growthRates.map(String.init).joined(separator: ", "))"
    }

    private static func stemStride(of stem: Stem) -> Int { stem == .cifar ? 1 : 2 }

    /// The names that `init(model:)` accepts, for messages.
    package static let modelNames =
        "densenet-DEPTH-GROWTH, densenet-bc-DEPTH-GROWTH (CIFAR), densenet121, densenet161, densenet169, densenet201, densenet264"

    private static let imageNetBlocks = [
        "121": [6, 12, 24, 16], "161": [6, 12, 36, 24], "169": [6, 12, 32, 32], "201": [6, 12, 48, 32],
        "264": [6, 12, 64, 48],
    ]

    /// The number that the paper and torchvision give this network, such as `121`; nil for one that is none of their
    /// ImageNet networks. Classes, images and dropout may be others.
    package var imageNetNumber: String? {
        Self.imageNetBlocks.keys.first { number in
            var named = try? Self(model: "densenet" + number, classes: classes, image: image)
            named?.dropout = dropout
            named?.imageChannels = imageChannels
            return named == self
        }
    }

    /// A network by name: `densenet-40-12` (depth 40, growth rate 12), `densenet-bc-100-12` (bottleneck,
    /// compression ½), `densenet121` and so on.
    ///
    /// A CIFAR net has three equal blocks: depth = 3n + 4, or 6n + 4 with bottlenecks (section 4.2).
    ///
    /// - Parameters:
    ///   - name: such as `densenet-bc-100-12`, in upper or lower case.
    ///   - classes: nil means 10 for CIFAR nets and 1000 for the others.
    ///   - image: nil means 32 for CIFAR nets and 224 for the others.
    /// - Throws: `Failure(.usage)` for an unknown name or an impossible depth.
    public init(model name: String, classes: Int? = nil, image: Int? = nil) throws {
        let words = name.lowercased().split(separator: "-", omittingEmptySubsequences: false).map(String.init)
        if words.count == 1, words[0].hasPrefix("densenet"),
            let blocks = Self.imageNetBlocks[String(words[0].dropFirst(8))]
        {
            let growthRate = words[0] == "densenet161" ? 48 : 32
            self.init(
                stem: .imagenet, blocks: blocks, growthRate: growthRate, stemChannels: 2 * growthRate, bottleneck: true,
                compression: 0.5, classes: classes ?? 1000, image: image ?? 224)
            try validate()
            return
        }
        let bottleneck = words.count == 4 && words[1] == "bc"
        guard words[0] == "densenet", words.count == 3 || bottleneck,
            let depth = Int(words[words.count - 2]), let growthRate = Int(words[words.count - 1])
        else { throw Failure(.usage, "unknown model '\(name)': expected one of \(Self.modelNames)") }
        let layerDepth = bottleneck ? 6 : 3
        guard depth > 4, depth <= 100_000, (depth - 4) % layerDepth == 0 else {
            let below = max((depth - 4) / layerDepth, 1) * layerDepth + 4
            throw Failure(
                .usage,
                "model '\(name)': depth \(depth) is impossible, expected \(layerDepth)n + 4, such as \(below) or \(below + layerDepth)"
            )
        }
        self.init(
            stem: .cifar, blocks: Array(repeating: (depth - 4) / layerDepth, count: 3), growthRate: growthRate,
            stemChannels: bottleneck ? 2 * growthRate : 16, bottleneck: bottleneck, compression: bottleneck ? 0.5 : 1,
            classes: classes ?? 10, image: image ?? 32)
        try validate()
    }

    /// Checks that the network can be built.
    ///
    /// - Throws: `Failure(.usage)` naming the value and what was expected.
    public func validate() throws {
        func require(_ holds: Bool, _ message: @autoclosure () -> String) throws {
            if !holds { throw Failure(.usage, message()) }
        }
        try require(
            !blocks.isEmpty && blocks.allSatisfy { $0 > 0 },
            "blocks \(blocks): expected at least one, each of 1 layer or more")
        try require(
            blocks.count <= 8 && blocks.allSatisfy { $0 <= 20_000 } && blocks.reduce(0, +) <= 20_000,
            "blocks \(blocks): expected at most 8 blocks of 20,000 layers in all")
        for growthRate in growthRates {
            try require((1...4096).contains(growthRate), "growth rate \(growthRate): expected 1 to 4096")
        }
        try require(
            growthRates.count == 1 || growthRates.count == blocks.count,
            "growth rates \(growthRates): expected one for all blocks, or one for each of the \(blocks.count)")
        try require(
            stem == .cifar ? (1...2).contains(stemStride) : stemStride == 2,
            "stem stride \(stemStride): expected \(stem == .cifar ? "1 or 2" : "2 with the ImageNet stem")")
        try require((1...65536).contains(stemChannels), "stem channels \(stemChannels): expected 1 to 65536")
        try require(compression > 0 && compression <= 1, "compression \(compression): expected above 0 and at most 1")
        try require(dropout >= 0 && dropout < 1, "dropout \(dropout): expected 0 or above and below 1")
        try require((1...1_000_000).contains(classes), "classes \(classes): expected 1 to 1,000,000")
        try require((1...1024).contains(image), "image size \(image): expected 1 to 1024 pixels")
        try require(
            imageChannels == 1 || imageChannels == 3,
            "image channels \(imageChannels): expected 1 for grey or 3 for red, green and blue")
        try require(
            blockSizes.allSatisfy { $0 > 0 },
            "image size \(image) is too small: \(stem.rawValue) stem and \(blocks.count) blocks need \(minimumImageSize) pixels or more"
        )
        var channels = stemChannels
        for (index, layers) in blocks.enumerated() {
            channels += layers * growthRate(ofBlock: index)
            try require(
                channels <= 1_000_000, "block \(index + 1) would have \(channels) channels, expected 1,000,000 at most")
            guard index < blocks.count - 1 else { break }
            channels = Int(compression * Double(channels))
            try require(channels > 0, "compression \(compression) leaves no channel after block \(index + 1)")
        }
        let parameters = parameterCount
        try require(
            parameters <= 10_000_000_000,
            "the network would have \(parameters) parameters, expected 10,000,000,000 at most")
    }

    /// The same network for images of another size, which may be too small: all parameters have the same shapes.
    package func withImages(of size: Int) -> DenseNetConfiguration {
        var copy = self
        copy.image = size
        return copy
    }

    /// Numbers of an image.
    package var imageCount: Int { imageChannels * image * image }

    /// Height and width after the stem's convolution.
    package var stemConvolutionSize: Int { (image - 1) / stemStride + 1 }

    /// Height and width of each block's feature maps; 0 if the image is too small.
    package var blockSizes: [Int] {
        var size = stem == .cifar ? stemConvolutionSize : (stemConvolutionSize - 1) / 2 + 1
        return blocks.indices.map { index in
            if index > 0 { size /= 2 }
            return size
        }
    }

    private var minimumImageSize: Int {
        let size = 1 << (blocks.count - 1)
        return (stem == .cifar ? stemStride : 4) * (size - 1) + 1
    }

    /// Output channels of each block.
    package var blockChannels: [Int] {
        var channels = stemChannels
        return blocks.enumerated().map { index, layers in
            if index > 0 { channels = Int(compression * Double(channels)) }
            channels += layers * growthRate(ofBlock: index)
            return channels
        }
    }

    /// Input channels of each block.
    package var blockInputs: [Int] {
        let outputs = blockChannels
        return blocks.indices.map { outputs[$0] - blocks[$0] * growthRate(ofBlock: $0) }
    }
}

/// As weights and config.json have it. Where blocks do not differ and the stem is the paper's, it is what earlier
/// programs read and write.
extension DenseNetConfiguration: Codable {
    private enum CodingKeys: String, CodingKey {
        case stem, stemStride, blocks, growthRate, growthRates, stemChannels, bottleneck, compression, dropout, classes
        case image, imageChannels
    }

    /// Reads what `encode(to:)` writes, without checking it.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let growthRates =
            values.contains(.growthRates)
            ? try values.decode([Int].self, forKey: .growthRates) : [try values.decode(Int.self, forKey: .growthRate)]
        self.init(
            stem: try values.decode(Stem.self, forKey: .stem),
            stemStride: try values.decodeIfPresent(Int.self, forKey: .stemStride),
            blocks: try values.decode([Int].self, forKey: .blocks),
            growthRates: growthRates,
            stemChannels: try values.decode(Int.self, forKey: .stemChannels),
            bottleneck: try values.decode(Bool.self, forKey: .bottleneck),
            compression: try values.decode(Double.self, forKey: .compression),
            dropout: try values.decode(Double.self, forKey: .dropout),
            classes: try values.decode(Int.self, forKey: .classes), image: try values.decode(Int.self, forKey: .image),
            imageChannels: try values.decodeIfPresent(Int.self, forKey: .imageChannels) ?? 3)
    }

    /// Writes one growth rate where all blocks have the same, and the stem's stride and the images' channels where they
    /// are not the paper's.
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(stem, forKey: .stem)
        if stemStride != Self.stemStride(of: stem) { try values.encode(stemStride, forKey: .stemStride) }
        try values.encode(blocks, forKey: .blocks)
        if let growthRate {
            try values.encode(growthRate, forKey: .growthRate)
        } else {
            try values.encode(growthRates, forKey: .growthRates)
        }
        try values.encode(stemChannels, forKey: .stemChannels)
        try values.encode(bottleneck, forKey: .bottleneck)
        try values.encode(compression, forKey: .compression)
        try values.encode(dropout, forKey: .dropout)
        try values.encode(classes, forKey: .classes)
        try values.encode(image, forKey: .image)
        if imageChannels != 3 { try values.encode(imageChannels, forKey: .imageChannels) }
    }
}
