import Support

/// As text: `none`, or words separated by commas: `resized-crop`, `crop`, `flip`, `vertical-flip`, `jitter`, `cutout`,
/// `erase`, `mixup`, `cutmix`. A crop whose padding is not four pixels says so (`crop:2`), as does one that reflects (`reflect-crop`,
/// `reflect-crop:2`), and a resized crop of at least another share than torchvision's (`resized-crop:0.25`);
/// `alternating-flip` is the other flip.
extension Augmentation: LosslessStringConvertible {
    /// What `init(_:)` reads, for messages.
    package static let grammar =
        "resized-crop (with resized-crop:0.25, a quarter of the area at least), crop or reflect-crop (with crop:2, two "
        + "pixels in place of four), flip or alternating-flip, vertical-flip, jitter, cutout, erase, mixup and cutmix "
        + "(with mixup:0.4, cutmix:0.5, their parameters, up to 2) separated by commas, or none"

    /// Parses `description`, such as `crop,flip` or `none`; nil if it has an unknown word, or two crops or flips.
    public init?(_ description: String) {
        self = .none
        guard description != "none" else { return }
        for word in description.split(separator: ",", omittingEmptySubsequences: false) {
            let parts = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard add(parts[0], amount: parts.count == 2 ? parts[1] : nil) else { return nil }
        }
    }

    /// The parameters of torchvision's references, and those that there may be.
    private static let (mixup, cutmix) = (0.2, 1.0)
    private static let parameters = Double.leastNormalMagnitude...2

    /// - Returns: false for a word that is unknown or contradicts one before it, or an amount that it cannot have.
    private mutating func add(_ word: Substring, amount: Substring?) -> Bool {
        switch word {
        case "resized-crop" where resizedCrop == nil:
            resizedCrop = RandomPart()
            guard let amount else { return true }
            guard let share = Double(amount), share > 0, share <= 1 else { return false }
            resizedCrop = RandomPart(leastArea: share)
            return true
        case "crop" where !crop, "reflect-crop" where !crop:
            crop = true
            cropEdge = word == "crop" ? .black : .reflection
            guard let amount else { return true }
            guard let padding = Int(amount), (1...1000).contains(padding) else { return false }
            cropPadding = padding
            return true
        case "flip" where !flip: flip = true
        case "alternating-flip" where !flip: (flip, alternatesFlips) = (true, true)
        case "vertical-flip": verticalFlip = true
        case "jitter": jitter = true
        case "cutout": cutout = true
        case "erase": erasing = true
        case "mixup" where mixup == nil:
            mixup = amount.map { Double($0) } ?? Self.mixup
            return Self.parameters.contains(mixup ?? 0)
        case "cutmix" where cutmix == nil:
            cutmix = amount.map { Double($0) } ?? Self.cutmix
            return Self.parameters.contains(cutmix ?? 0)
        default: return false
        }
        return amount == nil
    }

    /// The enabled changes in their order, separated by commas; `none` if there are none.
    public var description: String {
        var words: [String] = []
        if let resizedCrop {
            let isUsual = resizedCrop.leastArea == RandomPart.defaultLeastArea
            words.append("resized-crop" + (isUsual ? "" : ":\(resizedCrop.leastArea)"))
        }
        if crop {
            words.append((cropEdge == .black ? "crop" : "reflect-crop") + (cropPadding == 4 ? "" : ":\(cropPadding)"))
        }
        if flip { words.append(alternatesFlips ? "alternating-flip" : "flip") }
        if verticalFlip { words.append("vertical-flip") }
        if jitter { words.append("jitter") }
        if cutout { words.append("cutout") }
        if erasing { words.append("erase") }
        if let mixup { words.append("mixup" + (mixup == Self.mixup ? "" : ":\(mixup)")) }
        if let cutmix { words.append("cutmix" + (cutmix == Self.cutmix ? "" : ":\(cutmix)")) }
        return words.isEmpty ? "none" : words.joined(separator: ",")
    }
}

/// Stored as text.
extension Augmentation: Codable {
    /// Decodes `description`.
    public init(from decoder: any Decoder) throws {
        self = try decodeText(of: "augmentation", expecting: Self.grammar, from: decoder)
    }

    /// Encodes `description`.
    public func encode(to encoder: any Encoder) throws {
        try encodeText(of: self, to: encoder)
    }
}
