import Glibc
import Pictures
import Support

/// How an image of any size becomes a square one: its shorter edge is resized to `edge` pixels and the middle of the
/// result is kept, as torchvision's `Resize(edge)` and `CenterCrop(size)` do.
public struct ImageFraming: Sendable, Equatable {
    /// Pixels of the shorter edge.
    public let edge: Int
    /// Height and width of what is kept, at most `edge`.
    public let size: Int
    /// 3 for red, green and blue; 1 for grey, of which a colour has 0.299 of its red, 0.587 of its green and 0.114 of its
    /// blue.
    public let channels: Int

    /// - Precondition: `0 < size ≤ edge`, and 1 or 3 channels.
    public init(edge: Int, size: Int, channels: Int = 3) {
        precondition(size > 0 && edge >= size, "\(size) pixels of an edge of \(edge)")
        precondition(channels == 1 || channels == 3, "\(channels) channels")
        (self.edge, self.size, self.channels) = (edge, size, channels)
    }

    /// Height and width of the whole image once it is resized; its proportions are kept but for a fraction of a pixel.
    package func resized(height: Int, width: Int) -> (height: Int, width: Int) {
        height <= width ? (edge, edge * width / height) : (edge * height / width, edge)
    }

    /// Resizes an image and keeps its middle.
    ///
    /// - Parameters:
    ///   - image: of as many channels.
    ///   - result: shape [channels][size][size].
    func apply(to image: PixelPlanes, by resizer: PictureResizer, into result: UnsafeMutablePointer<UInt8>) {
        let whole = resized(height: image.height, width: image.width)
        resizer.resize(
            PixelBox(height: image.height, width: image.width), of: image, toHeight: whole.height, width: whole.width,
            keeping: middle(height: whole.height, width: whole.width), into: result)
    }

    /// The middle of a resized image. Half a pixel goes to the even side, as Python rounds.
    package func middle(height: Int, width: Int) -> PixelBox {
        func start(_ length: Int) -> Int { Int((Double(length - size) / 2).rounded(.toNearestOrEven)) }
        return PixelBox(top: start(height), left: start(width), height: size, width: size)
    }
}

extension Picture {
    /// The picture, of a framing's channels, as it has it: bytes, shape [channels][size][size].
    package func framed(_ framing: ImageFraming, by resizer: PictureResizer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: framing.channels * framing.size * framing.size) { result, count in
            planes.withUnsafeBufferPointer { planes in
                framing.apply(
                    to: PixelPlanes(planes.baseAddress!, channels: channels, height: height, width: width),
                    by: resizer,
                    into: result.baseAddress!)
            }
            count = framing.channels * framing.size * framing.size
        }
    }
}

extension PixelBox {
    /// The whole of an image.
    package init(height: Int, width: Int) { self.init(top: 0, left: 0, height: height, width: width) }

    /// How many times smaller (1, 2, 4 or 8) the box may be decoded and still have the pixels of a size.
    func shrinkage(toHeight newHeight: Int, width newWidth: Int) -> Int {
        [8, 4, 2].first { height >= $0 * newHeight && width >= $0 * newWidth } ?? 1
    }

    /// The box in an image of a height and width that is decoded smaller, to the nearest pixel.
    func shrunk(by shrinkage: Int, height imageHeight: Int, width imageWidth: Int) -> PixelBox {
        func edge(_ position: Int) -> Int { (position + shrinkage / 2) / shrinkage }
        func line(_ start: Int, _ length: Int, of whole: Int) -> (start: Int, length: Int) {
            (edge(start), max(min(edge(start + length), (whole - 1) / shrinkage + 1) - edge(start), 1))
        }
        let (rows, columns) = (line(top, height, of: imageHeight), line(left, width, of: imageWidth))
        return PixelBox(top: rows.start, left: columns.start, height: rows.length, width: columns.length)
    }
}

/// The part of an image that torchvision's `RandomResizedCrop` takes (Szegedy et al., "Going deeper with convolutions",
/// 2015, section 6): its share of the area and its proportions are drawn.
public struct RandomPart: Sendable, Equatable {
    /// The least share of the area, above 0 and up to 1; the most is 1.
    public let leastArea: Double

    /// torchvision's `scale` begins there.
    public static let defaultLeastArea = 0.08
    /// Width over height.
    static let proportions = 3.0 / 4...4.0 / 3

    /// - Precondition: `0 < leastArea ≤ 1`.
    public init(leastArea: Double = defaultLeastArea) {
        precondition(leastArea > 0 && leastArea <= 1, "a share of \(leastArea)")
        self.leastArea = leastArea
    }

    /// The part of an image of a size.
    package func box(height: Int, width: Int, _ random: inout CounterRandom) -> PixelBox {
        let area = Double(height * width)
        let logarithms = log(Self.proportions.lowerBound)...log(Self.proportions.upperBound)
        for _ in 0..<10 {
            let target = area * random.uniform(in: leastArea...1)
            let ratio = exp(random.uniform(in: logarithms))
            let partWidth = Int((target * ratio).squareRoot().rounded(.toNearestOrEven))
            let partHeight = Int((target / ratio).squareRoot().rounded(.toNearestOrEven))
            guard (1...width).contains(partWidth), (1...height).contains(partHeight) else { continue }
            return PixelBox(
                top: random.below(height - partHeight + 1), left: random.below(width - partWidth + 1),
                height: partHeight, width: partWidth)
        }
        return Self.largestMiddle(height: height, width: width)
    }

    /// The middle of an image whose own proportions are too far from a square, as large as its proportions may be.
    static func largestMiddle(height: Int, width: Int) -> PixelBox {
        let ratio = Double(width) / Double(height)
        var (partHeight, partWidth) = (height, width)
        if ratio < proportions.lowerBound {
            partHeight = Int((Double(width) / proportions.lowerBound).rounded(.toNearestOrEven))
        } else if ratio > proportions.upperBound {
            partWidth = Int((Double(height) * proportions.upperBound).rounded(.toNearestOrEven))
        }
        return PixelBox(
            top: (height - partHeight) / 2, left: (width - partWidth) / 2, height: partHeight, width: partWidth)
    }
}

/// The part of an image that torchvision's `RandomErasing` erases: with probability ½, by a share of the area and
/// proportions that are drawn.
enum ErasedPart {
    private static let areas = 0.02...0.33
    /// Height over width.
    private static let proportions = 0.3...3.3

    /// Nil for an image that stays whole.
    static func box(height: Int, width: Int, _ random: inout CounterRandom) -> PixelBox? {
        guard random.below(2) == 1 else { return nil }
        for _ in 0..<10 {
            let area = Double(height * width) * random.uniform(in: areas)
            let ratio = exp(random.uniform(in: log(proportions.lowerBound)...log(proportions.upperBound)))
            let partHeight = Int((area * ratio).squareRoot().rounded(.toNearestOrEven))
            let partWidth = Int((area / ratio).squareRoot().rounded(.toNearestOrEven))
            guard (1..<height).contains(partHeight), (1..<width).contains(partWidth) else { continue }
            return PixelBox(
                top: random.below(height - partHeight + 1), left: random.below(width - partWidth + 1),
                height: partHeight, width: partWidth)
        }
        return nil
    }
}
