import Pictures
import Support

/// Sums over the pixels of a set, or of one part of it, from which means and deviations are computed.
///
/// The sums are exact integers, so parts added up over ranks give the same numbers for any number of ranks.
package struct PixelSums: Sendable, Equatable {
    /// The number of pixels; the sums of each channel; their sums of squares; where all images have one size the sums of
    /// each pixel, shape [channels][height][width]. Bytes count as 0…255. One array, so that it can be all-reduced in place.
    package var values: [Int64]
    /// Of the images, 1 or 3.
    let channels: Int
    /// Pixels of each image; 0 where images have sizes of their own.
    let pixelsPerImage: Int

    /// Sums that were taken image by image.
    init(pixels: Int, sums: [Int64], squares: [Int64]) {
        values = [Int64(pixels)] + sums + squares
        channels = sums.count
        pixelsPerImage = 0
    }

    /// Sums over one of `parts` contiguous parts of the records of a set, as they are stored.
    ///
    /// - Throws: as `ImageReader.read`.
    /// - Precondition: the set has records.
    package init(of images: ImageSet, part: Int = 0, of parts: Int = 1) throws {
        guard case .records(let records) = images.storage else { preconditionFailure("pictures have facts") }
        let channels = images.channels
        let plane = records.layout.height * records.layout.width
        (self.channels, pixelsPerImage) = (channels, plane)
        values = [Int64](repeating: 0, count: 1 + 2 * channels + channels * plane)
        let range = partition(images.count, into: parts, part: part)
        let record = AlignedBuffer<UInt8>(count: records.layout.recordBytes)
        defer { withExtendedLifetime(record) {} }
        try values.withUnsafeMutableBufferPointer { all in
            let values = all.baseAddress!
            let pixelSums = values + 1 + 2 * channels
            for index in range {
                try records.read(index, into: record.pointer)
                let pixels = record.pointer + records.layout.headerBytes
                if channels == 1 {
                    PixelPlanes(pixels, channels: 3, height: records.layout.height, width: records.layout.width)
                        .writeGrey(into: pixels)
                }
                for channel in 0..<channels {
                    var squares: Int64 = 0
                    for i in channel * plane..<(channel + 1) * plane {
                        let pixel = Int32(pixels[i])
                        pixelSums[i] &+= Int64(pixel)
                        squares &+= Int64(pixel &* pixel)
                    }
                    values[1 + channels + channel] += squares
                }
            }
            values[0] = Int64(range.count * plane)
            for channel in 0..<channels {
                for i in channel * plane..<(channel + 1) * plane { values[1 + channel] += pixelSums[i] }
            }
        }
    }

    /// The mean and population deviation of a channel, in bytes.
    fileprivate func moments(_ channel: Int) -> (mean: Double, deviation: Double) {
        let count = Int128(values[0])
        let sum = Int128(values[1 + channel])
        let squares = Int128(values[1 + channels + channel])
        // The difference is an exact integer, so a constant channel gives zero rather than a rounding error.
        let variance = Double(count * squares - sum * sum) / (Double(count) * Double(count))
        return (Double(sum) / Double(count), variance.squareRoot())
    }

    fileprivate var pixelMeans: [Float] {
        let images = Double(values[0]) / Double(pixelsPerImage)
        return values[(1 + 2 * channels)...].map { Float(Double($0) / images / 255) }
    }
}

/// How colours in 0…1 become the network's input: `(colour − mean) / std` per channel, then minus a mean per pixel if
/// there is one.
public struct Normalization: Sendable, Equatable, Codable {
    /// Red, green, blue; or one number, grey.
    public let mean: [Float]
    /// As many positive numbers.
    public let std: [Float]
    /// Shape [channels][height][width], of colours in 0…1.
    public let pixelMean: [Float]?

    /// Leaves colours in 0…1.
    public static let none = none(channels: 3)

    /// Leaves colours, or grey, in 0…1.
    public static func none(channels: Int) -> Normalization {
        Normalization(
            mean: [Float](repeating: 0, count: channels), std: [Float](repeating: 1, count: channels), pixelMean: nil)
    }

    private init(mean: [Float], std: [Float], pixelMean: [Float]?) {
        self.mean = mean
        self.std = std
        self.pixelMean = pixelMean
    }

    /// Mean 0 and deviation 1 in each channel; a constant channel becomes zero.
    ///
    /// - Precondition: the sums are over at least one image.
    package static func channel(from sums: PixelSums) -> Normalization {
        precondition(sums.values[0] > 0, "there is no mean of no images")
        let moments = (0..<sums.channels).map(sums.moments)
        return Normalization(
            mean: moments.map { Float($0.mean / 255) },
            std: moments.map { $0.deviation == 0 ? 1 : Float($0.deviation / 255) }, pixelMean: nil)
    }

    /// Subtracts the mean image, without scaling.
    ///
    /// - Precondition: the sums are over at least one image, and all have one size.
    package static func pixelMean(from sums: PixelSums) -> Normalization {
        precondition(sums.values[0] > 0 && sums.pixelsPerImage > 0, "there is no mean of no images")
        let none = none(channels: sums.channels)
        return Normalization(mean: none.mean, std: none.std, pixelMean: sums.pixelMeans)
    }

    /// Means and deviations of red, green and blue, or of grey alone, for colours in 0…1.
    ///
    /// - Throws: `Failure(.usage)` unless both are three finite numbers, or one each, and all deviations are above zero.
    public init(mean: [Float], std: [Float]) throws {
        for (name, numbers) in [("mean", mean), ("std", std)] {
            guard numbers.count == mean.count, [1, 3].contains(numbers.count), numbers.allSatisfy(\.isFinite) else {
                throw Failure(
                    .usage, "`\(name)` is \(numbers), expected three numbers, of red, green and blue, or one of grey")
            }
        }
        guard std.allSatisfy({ $0 > 0 }) else {
            throw Failure(.usage, "`std` is \(std), expected numbers above zero")
        }
        self.init(mean: mean, std: std, pixelMean: nil)
    }

    /// Checks that values read from a file are valid for images of this size.
    ///
    /// - Throws: `Failure(.data)` if not.
    package func validate(channels: Int, height: Int, width: Int) throws {
        guard mean.count == channels, std.count == channels, std.allSatisfy({ $0 > 0 }) else {
            throw Failure(
                .data,
                "normalization with means \(mean) and deviations \(std): expected \(channels) of each, deviations above zero"
            )
        }
        if let pixelMean, pixelMean.count != channels * height * width {
            throw Failure(
                .data,
                "normalization with \(pixelMean.count) pixel means: expected \(channels * height * width) for images of "
                    + "\(height) × \(width)")
        }
    }

    /// Normalizes an image in place.
    ///
    /// - Precondition: `validate(channels:height:width:)` accepts the image's shape.
    package func apply(to image: ImagePlanes) {
        let plane = image.planeCount
        for channel in 0..<image.channels {
            let mean = mean[channel]
            let scale = 1 / std[channel]
            let start = image.pointer + channel * plane
            for i in 0..<plane { start[i] = (start[i] - mean) * scale }
        }
        pixelMean?.withUnsafeBufferPointer { means in
            for i in 0..<image.count { image.pointer[i] -= means[i] }
        }
    }

    /// The colours of a normalized image as bytes, shape [channels][height][width]: what `apply` began with.
    ///
    /// - Parameters:
    ///   - images: shape [more than `index`][channels][height][width].
    ///   - planeCount: height · width.
    package func colours(of images: UnsafePointer<Float>, image index: Int, planeCount: Int) -> [UInt8] {
        let count = mean.count * planeCount
        let start = images + index * count
        return (0..<count).map { i in
            let channel = i / planeCount
            let colour = (start[i] + (pixelMean?[i] ?? 0)) * std[channel] + mean[channel]
            return colour.isNaN ? 0 : UInt8((clamped(colour) * 255).rounded())
        }
    }
}
