import Glibc
import Support

/// Images of ten classes that are easy for a convolutional network and hard for a linear classifier: a substitute for
/// CIFAR-10.
///
/// A class is a shape or a texture. Position, size, angle, both colours, the background's gradient and the noise are
/// random. Shape and background have the same distribution of colours, so colour and brightness reveal nothing about
/// the class: softmax regression on the pixels of 20,000 images classifies 24 % of 4,000 others correctly. An image is
/// a pure function of seed, split and sample.
package enum SyntheticImages {
    /// The splits never share random numbers.
    package enum Split: UInt64, Sendable {
        case train = 1
        case test
    }

    /// The names of the ten classes, in the order of their labels.
    package static let classNames = [
        "disc", "ring", "square", "triangle", "cross", "horizontal_stripes", "vertical_stripes", "diagonal_stripes",
        "checkerboard", "dots",
    ]

    static let minimumImageSize = 8

    private enum Stream: UInt64 {
        case label = 1
        case picture
        case noise
    }

    /// The class of a sample. Every ten samples (0…9, 10…19, …) have each class once, in random order.
    package static func label(sample: Int, seed: UInt64, split: Split) -> Int {
        var random = CounterRandom(.synthetic, seed, split.rawValue, Stream.label.rawValue, UInt64(sample / 10))
        // A Fisher–Yates shuffle, in a vector because an array would be allocated.
        var classes = SIMD16<UInt8>(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0)
        for last in stride(from: 9, to: 0, by: -1) {
            let other = random.below(last + 1)
            (classes[last], classes[other]) = (classes[other], classes[last])
        }
        return Int(classes[sample % 10])
    }

    /// Draws a sample.
    ///
    /// - Parameter planes: the pixels, shape [3][imageSize][imageSize].
    /// - Returns: the label.
    /// - Precondition: `imageSize ≥ 8`.
    @discardableResult
    package static func draw(
        sample: Int, seed: UInt64, split: Split, imageSize: Int = CIFAR.imageSize,
        into planes: UnsafeMutablePointer<UInt8>
    ) -> Int {
        precondition(
            imageSize >= minimumImageSize, "an image of \(imageSize) pixels, expected \(minimumImageSize) or more")
        let label = label(sample: sample, seed: seed, split: split)
        var random = CounterRandom(.synthetic, seed, split.rawValue, Stream.picture.rawValue, UInt64(sample))
        let figure = Figure(label: label, imageSize: Float(imageSize), &random)
        let paint = Paint(imageSize: Float(imageSize), &random)
        var noise = CounterRandom(.synthetic, seed, split.rawValue, Stream.noise.rawValue, UInt64(sample))
        let plane = imageSize * imageSize
        for y in 0..<imageSize {
            for x in 0..<imageSize {
                let (x0, y0) = (Float(x) + 0.5, Float(y) + 0.5)
                let coverage = clamped(0.5 - figure.distance(x0, y0))
                let colour = paint.colour(x0, y0, coverage: coverage, noise: noise.next())
                let bytes = planes + y * imageSize + x
                for channel in 0..<ImageSet.Layout.channels { bytes[channel * plane] = UInt8(colour[channel]) }
            }
        }
        return label
    }
}

/// A shape or texture as a signed distance in pixels: negative inside, positive outside.
private struct Figure {
    private let label: Int
    private let centreX: Float
    private let centreY: Float
    private let cosine: Float
    private let sine: Float
    /// The radius of a shape, the period of a texture.
    private let size: Float

    init(label: Int, imageSize: Float, _ random: inout CounterRandom) {
        self.label = label
        let isShape = label < 5
        if isShape {
            size = random.uniform(0.24, 0.40) * imageSize
        } else {
            // Dots need a longer period than stripes; textures with periods below four pixels are indistinguishable.
            let low: Float = label == 9 ? 0.25 : 0.19
            size = random.uniform(max(low * imageSize, 4), max(1.6 * low * imageSize, 5))
        }
        // A shape lies entirely inside the image; a texture's centre is its phase.
        let margin = isShape ? size : 0
        centreX = random.uniform(margin, imageSize - margin)
        centreY = random.uniform(margin, imageSize - margin)
        let quarter = Float.pi / 2
        let tilt = random.uniform(-0.16, 0.16)
        let angle: Float =
            switch label {
            case 5, 8: tilt
            case 6: quarter + tilt
            case 7: (random.below(2) == 0 ? 0.5 : 1.5) * quarter + tilt
            default: random.uniform(0, 4 * quarter)
            }
        cosine = cos(angle)
        sine = sin(angle)
    }

    @inline(__always)
    func distance(_ x: Float, _ y: Float) -> Float {
        let u = cosine * (x - centreX) + sine * (y - centreY)
        let v = cosine * (y - centreY) - sine * (x - centreX)
        switch label {
        case 0: return (u * u + v * v).squareRoot() - size
        case 1: return abs((u * u + v * v).squareRoot() - 0.75 * size) - 0.23 * size
        case 2: return max(abs(u), abs(v)) - 0.7 * size
        case 3: return max(-v, 0.5 * v + 0.866_025_4 * abs(u)) - 0.5 * size
        case 4:
            let (long, short) = (max(abs(u), abs(v)), min(abs(u), abs(v)))
            return max(long - 0.95 * size, short - 0.28 * size)
        case 8:
            let (across, along) = (stripes(u), stripes(v))
            let edge = min(abs(across), abs(along))
            return (across < 0) == (along < 0) ? edge : -edge
        case 9:
            let (du, dv) = (offset(u), offset(v))
            return (du * du + dv * dv).squareRoot() - 0.3 * size
        default: return stripes(v)
        }
    }

    /// The signed distance from `t` to the nearest multiple of the period.
    @inline(__always)
    private func offset(_ t: Float) -> Float { t - size * (t / size).rounded() }

    /// The signed distance to stripes along `t`, each half a period wide.
    @inline(__always)
    private func stripes(_ t: Float) -> Float { abs(offset(t)) - 0.25 * size }
}

/// An image's two colours, its background's gradient, and noise.
private struct Paint {
    private var ground = SIMD4<Float>()
    private var figure = SIMD4<Float>()
    private var slopeX = SIMD4<Float>()
    private var slopeY = SIMD4<Float>()

    init(imageSize: Float, _ random: inout CounterRandom) {
        for channel in 0..<ImageSet.Layout.channels {
            // About half a turn apart on a circle of brightnesses: both are uniform and never close.
            let brightness = random.unit()
            var other = brightness + random.uniform(0.35, 0.65)
            if other >= 1 { other -= 1 }
            figure[channel] = 20 + 215 * other
            slopeX[channel] = random.uniform(-40, 40) / imageSize
            slopeY[channel] = random.uniform(-40, 40) / imageSize
            ground[channel] = 20 + 215 * brightness - (slopeX[channel] + slopeY[channel]) * imageSize / 2
        }
    }

    /// The colour of a pixel, in 0…255.
    ///
    /// - Parameter noise: 64 random bits.
    @inline(__always)
    func colour(_ x: Float, _ y: Float, coverage: Float, noise: UInt64) -> SIMD4<Float> {
        let bits = unsafeBitCast(noise, to: SIMD4<UInt16>.self)
        let grain = (SIMD4<Float>(bits) - 32768) * (20 / 32768)
        let background = ground + slopeX * x + slopeY * y
        let colour = background + (figure - background) * coverage + grain
        return colour.clamped(lowerBound: .zero, upperBound: .init(repeating: 255))
    }
}
