import Pictures
import Support

/// The random changes applied to training images, in this order: resized crop, crop, flip, vertical flip, colour jitter,
/// (normalization,) cutout, erasing, (another size,) mixing with another image.
///
/// Random numbers depend on seed, epoch, sample index and stage alone: a sample looks the same on any rank, and one
/// stage does not affect the numbers of another.
public struct Augmentation: Sendable, Equatable {
    /// In place of the middle of an image, take a part of random size and proportions; see `RandomPart`.
    public var resizedCrop: RandomPart?
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
    /// Mirror the image top to bottom with probability ½.
    public var verticalFlip: Bool
    /// Change brightness, contrast, saturation and hue, as torchvision's `ColorJitter`.
    public var jitter: Bool
    /// After normalization, zero a square of half the image's edge.
    public var cutout: Bool
    /// After normalization, with probability ½, zero a rectangle of random size and proportions, as torchvision's
    /// `RandomErasing` (Zhong et al., "Random erasing data augmentation", 2020).
    public var erasing: Bool
    /// Mix each image with another of its batch pixel by pixel, by a share from the beta distribution with this
    /// parameter; see `ImageMix`. Nil for never.
    public var mixup: Double?
    /// Likewise, a rectangle of another image in place of the image's own.
    public var cutmix: Double?

    /// Whether images are mixed with others.
    package var mixes: Bool { mixup != nil || cutmix != nil }

    /// What a crop shows beyond the image's edge.
    public enum CropEdge: Sendable, Equatable {
        case black
        /// The image mirrored at its outermost pixels, as torchvision's `padding_mode="reflect"`.
        case reflection
    }

    /// Creates an augmentation with the given changes.
    public init(
        resizedCrop: RandomPart? = nil, crop: Bool = false, cropPadding: Int = 4, cropEdge: CropEdge = .black,
        flip: Bool = false, alternatesFlips: Bool = false, verticalFlip: Bool = false, jitter: Bool = false,
        cutout: Bool = false, erasing: Bool = false, mixup: Double? = nil, cutmix: Double? = nil
    ) {
        self.resizedCrop = resizedCrop
        self.crop = crop
        self.cropPadding = cropPadding
        self.cropEdge = cropEdge
        self.flip = flip
        self.alternatesFlips = alternatesFlips
        self.verticalFlip = verticalFlip
        self.jitter = jitter
        self.cutout = cutout
        self.erasing = erasing
        self.mixup = mixup
        self.cutmix = cutmix
    }

    /// Strengths of the jitter: factors are drawn from 1 ± strength, the hue's shift from ± strength.
    static let brightness: Float = 0.2
    static let contrast: Float = 0.2
    static let saturation: Float = 0.2
    static let hue: Float = 0.1

    /// What the ImageNet family is trained with on pictures (torchvision's references).
    public static let standardOfPictures = Augmentation(resizedCrop: RandomPart(), flip: true)

    /// No augmentation.
    public static let none = Augmentation()

    private enum Stage: UInt64 {
        case crop = 1
        case flip, jitter, cutout, resizedCrop, verticalFlip, erasing
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
        if verticalFlip {
            var random = Self.random(.verticalFlip, seed, epoch, sample)
            if random.below(2) == 1 { image.mirrorVertically() }
        }
        if jitter {
            var random = Self.random(.jitter, seed, epoch, sample)
            Self.jitter(image, &random)
        }
    }

    /// Cuts parts out of a normalized image, whose zero is the mean colour.
    func applyAfterNormalization(to image: ImagePlanes, seed: UInt64, epoch: Int, sample: Int) {
        if cutout {
            var random = Self.random(.cutout, seed, epoch, sample)
            let row = random.below(image.height)
            let column = random.below(image.width)
            image.cutOut(centreRow: row, centreColumn: column, edge: min(image.height, image.width) / 2)
        }
        if erasing {
            var random = Self.random(.erasing, seed, epoch, sample)
            if let box = ErasedPart.box(height: image.height, width: image.width, &random) { image.erase(box) }
        }
    }

    /// The part of an image that an epoch shows of it; nil where it shows what the set's framing keeps.
    func part(height: Int, width: Int, seed: UInt64, epoch: Int, sample: Int) -> PixelBox? {
        guard let resizedCrop else { return nil }
        var random = Self.random(.resizedCrop, seed, epoch, sample)
        return resizedCrop.box(height: height, width: width, &random)
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
