import Support

/// The random changes applied to training images, in this order: crop, flip, colour jitter, (normalization,) cutout.
///
/// Random numbers depend on seed, epoch, sample index and stage alone: a sample looks the same on any rank, and one
/// stage does not affect the numbers of another.
public struct Augmentation: Sendable, Equatable {
    /// Pad with four black pixels on each side, then crop to the original size at a random position.
    public var crop: Bool
    /// Mirror the image left to right with probability ½.
    public var flip: Bool
    /// Change brightness, contrast, saturation and hue, as torchvision's `ColorJitter`.
    public var jitter: Bool
    /// After normalization, zero a square of half the image's edge.
    public var cutout: Bool

    /// The changes that are named; all others stay off.
    public init(crop: Bool = false, flip: Bool = false, jitter: Bool = false, cutout: Bool = false) {
        self.crop = crop
        self.flip = flip
        self.jitter = jitter
        self.cutout = cutout
    }

    /// Black pixels added on each side before the crop.
    static let padding = 4
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
            let rows = random.below(2 * Self.padding + 1) - Self.padding
            let columns = random.below(2 * Self.padding + 1) - Self.padding
            image.shift(rows: rows, columns: columns)
        }
        if flip {
            var random = Self.random(.flip, seed, epoch, sample)
            if random.below(2) == 1 { image.mirror() }
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

/// As text: `none`, or `crop`, `flip`, `jitter` and `cutout` separated by commas.
extension Augmentation: LosslessStringConvertible {
    private static let changes: [(name: String, isOn: WritableKeyPath<Augmentation, Bool> & Sendable)] = [
        ("crop", \.crop), ("flip", \.flip), ("jitter", \.jitter), ("cutout", \.cutout),
    ]

    /// Reads what `description` writes, such as `crop,flip`, or `none`; nil for a word that is none of these.
    public init?(_ description: String) {
        self = .none
        guard description != "none" else { return }
        for word in description.split(separator: ",", omittingEmptySubsequences: false) {
            guard let change = Self.changes.first(where: { $0.name == word }) else { return nil }
            self[keyPath: change.isOn] = true
        }
    }

    /// The changes that are on, separated by commas, in the order in which they are made; `none` without any.
    public var description: String {
        let names = Self.changes.filter { self[keyPath: $0.isOn] }.map(\.name)
        return names.isEmpty ? "none" : names.joined(separator: ",")
    }
}

/// Stored as text.
extension Augmentation: Codable {
    /// Reads the text that `encode(to:)` writes.
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let augmentation = Augmentation(text) else {
            throw Failure(
                .data, "augmentation '\(text)': expected crop, flip, jitter, cutout (separated by commas) or none")
        }
        self = augmentation
    }

    /// Writes `description`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
