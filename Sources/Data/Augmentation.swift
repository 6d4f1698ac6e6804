import Support

/// The random changes applied to training images, in this order: crop, flip, colour jitter, (normalization,) cutout.
///
/// Random numbers depend on seed, epoch, sample index and stage alone: a sample looks the same on any rank, and one
/// stage does not affect the numbers of another.
public struct Augmentation: Sendable, Equatable {
    /// Pad with `cropPadding` pixels on each side, then crop to the original size at a random position.
    public var crop: Bool
    /// Pixels added on each side before the crop.
    public var cropPadding: Int
    /// What these pixels are.
    public var cropEdge: CropEdge
    /// Mirror the image left to right with probability ½.
    public var flip: Bool
    /// Draw this for the first epoch only, and mirror an image in every other epoch from there on, so that two epochs
    /// in a row show both sides (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.6).
    public var alternatesFlips: Bool
    /// Change brightness, contrast, saturation and hue, as torchvision's `ColorJitter`.
    public var jitter: Bool
    /// After normalization, zero a square of half the image's edge.
    public var cutout: Bool

    /// What a crop shows beyond the image's edge.
    public enum CropEdge: Sendable, Equatable {
        case black
        /// The image mirrored at its outermost pixels, as torchvision's `padding_mode="reflect"`.
        case reflection
    }

    /// Creates an augmentation with the given changes.
    public init(
        crop: Bool = false, cropPadding: Int = 4, cropEdge: CropEdge = .black, flip: Bool = false,
        alternatesFlips: Bool = false, jitter: Bool = false, cutout: Bool = false
    ) {
        self.crop = crop
        self.cropPadding = cropPadding
        self.cropEdge = cropEdge
        self.flip = flip
        self.alternatesFlips = alternatesFlips
        self.jitter = jitter
        self.cutout = cutout
    }

    /// Strengths of the jitter: factors are drawn from 1 ± strength, the hue's shift from ± strength.
    static let brightness: Float = 0.2
    static let contrast: Float = 0.2
    static let saturation: Float = 0.2
    static let hue: Float = 0.1

    /// No augmentation.
    public static let none = Augmentation()

    private enum Stage: UInt64 {
        case crop = 1
        case flip, jitter, cutout
    }

    /// Crops, flips and jitters an image with colours in 0…1.
    ///
    /// - Parameter epoch: counted from 1.
    func applyBeforeNormalization(to image: ImagePlanes, seed: UInt64, epoch: Int, sample: Int) {
        if crop {
            var random = Self.random(.crop, seed, epoch, sample)
            let rows = random.below(2 * cropPadding + 1) - cropPadding
            let columns = random.below(2 * cropPadding + 1) - cropPadding
            image.shift(rows: rows, columns: columns)
            if cropEdge == .reflection { image.reflectEdge(rows: rows, columns: columns) }
        }
        if flip {
            var random = Self.random(.flip, seed, alternatesFlips ? 1 : epoch, sample)
            let isOddEpoch = alternatesFlips && (epoch - 1) % 2 == 1
            if (random.below(2) == 1) != isOddEpoch { image.mirror() }
        }
        if jitter {
            var random = Self.random(.jitter, seed, epoch, sample)
            Self.jitter(image, &random)
        }
    }

    /// Cuts a square out of a normalized image, whose zero is the mean colour.
    func applyAfterNormalization(to image: ImagePlanes, seed: UInt64, epoch: Int, sample: Int) {
        guard cutout else { return }
        var random = Self.random(.cutout, seed, epoch, sample)
        let row = random.below(image.height)
        let column = random.below(image.width)
        image.cutOut(centreRow: row, centreColumn: column, edge: min(image.height, image.width) / 2)
    }

    /// torchvision's `ColorJitter`: uniform factors, the four changes in random order.
    private static func jitter(_ image: ImagePlanes, _ random: inout CounterRandom) {
        let brightness = random.uniform(1 - Self.brightness, 1 + Self.brightness)
        let contrast = random.uniform(1 - Self.contrast, 1 + Self.contrast)
        let saturation = random.uniform(1 - Self.saturation, 1 + Self.saturation)
        let hue = random.uniform(-Self.hue, Self.hue)
        var order = SIMD4<UInt8>(0, 1, 2, 3)
        for last in stride(from: 3, to: 0, by: -1) {
            let other = random.below(last + 1)
            (order[last], order[other]) = (order[other], order[last])
        }
        for i in 0..<4 {
            switch order[i] {
            case 0: image.adjustBrightness(brightness)
            case 1: image.adjustContrast(contrast)
            case 2: image.adjustSaturation(saturation)
            default: image.adjustHue(hue)
            }
        }
    }

    private static func random(_ stage: Stage, _ seed: UInt64, _ epoch: Int, _ sample: Int) -> CounterRandom {
        CounterRandom(.augmentation, seed, UInt64(epoch), UInt64(sample), stage.rawValue)
    }
}

/// As text: `none`, or words separated by commas: `crop`, `flip`, `jitter`, `cutout`. A crop whose padding is not four
/// pixels says so (`crop:2`), as does one that reflects (`reflect-crop`, `reflect-crop:2`); `alternating-flip` is the
/// other flip.
extension Augmentation: LosslessStringConvertible {
    /// What `init(_:)` reads, for messages.
    package static let grammar =
        "crop or reflect-crop (with crop:2, two pixels in place of four), flip or alternating-flip, jitter, cutout "
        + "(separated by commas) or none"

    /// Parses `description`, such as `crop,flip` or `none`; nil if it has an unknown word, or two crops or flips.
    public init?(_ description: String) {
        self = .none
        guard description != "none" else { return }
        for word in description.split(separator: ",", omittingEmptySubsequences: false) {
            let parts = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            switch parts[0] {
            case "crop" where !crop, "reflect-crop" where !crop:
                crop = true
                cropEdge = parts[0] == "crop" ? .black : .reflection
                guard parts.count == 2 else { continue }
                guard let padding = Int(parts[1]), Self.paddings.contains(padding) else { return nil }
                cropPadding = padding
                continue
            case "flip" where !flip: flip = true
            case "alternating-flip" where !flip: (flip, alternatesFlips) = (true, true)
            case "jitter": jitter = true
            case "cutout": cutout = true
            default: return nil
            }
            guard parts.count == 1 else { return nil }
        }
    }

    private static let paddings = 1...1000

    /// The enabled changes in their order, separated by commas; `none` if there are none.
    public var description: String {
        var words: [String] = []
        if crop {
            words.append((cropEdge == .black ? "crop" : "reflect-crop") + (cropPadding == 4 ? "" : ":\(cropPadding)"))
        }
        if flip { words.append(alternatesFlips ? "alternating-flip" : "flip") }
        if jitter { words.append("jitter") }
        if cutout { words.append("cutout") }
        return words.isEmpty ? "none" : words.joined(separator: ",")
    }
}

/// Stored as text.
extension Augmentation: Codable {
    /// Decodes `description`.
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let augmentation = Augmentation(text) else {
            throw Failure(.data, "augmentation '\(text)': expected \(Augmentation.grammar)")
        }
        self = augmentation
    }

    /// Encodes `description`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
