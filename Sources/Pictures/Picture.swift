import Support

/// A picture as bytes: red, green and blue planes, or a grey one, row by row.
package struct Picture: Sendable, Equatable {
    package let height: Int
    package let width: Int
    /// Shape [channels][height][width].
    package let planes: [UInt8]

    /// Larger pictures are refused before memory is taken for them: 64 megapixels.
    package static let largestArea = 1 << 26
    /// The largest height or width; JPEG has no larger ones.
    package static let largestEdge = 65_535
    /// The largest file, in bytes.
    package static let largestFile = 1 << 28

    /// 3 for red, green and blue, 1 for grey.
    package var channels: Int { planes.count / (height * width) }

    /// - Precondition: one plane or three, of at least a pixel.
    package init(height: Int, width: Int, planes: [UInt8]) {
        precondition(
            height > 0 && width > 0 && (planes.count == height * width || planes.count == 3 * height * width),
            "\(planes.count) bytes are not 1 or 3 × \(height) × \(width)")
        self.height = height
        self.width = width
        self.planes = planes
    }

    /// Reads a PNG or JPEG file, whichever its first bytes say it is.
    ///
    /// The result is what Pillow's `Image.open(path).convert("RGB")`, or `convert("L")`, gives: grey becomes three equal
    /// planes, a palette its colours, an alpha channel is dropped, colour profiles, gamma and orientation are ignored. Of
    /// 16 bits per channel the upper 8 are read. JPEG in CMYK, and 16 bits with an alpha channel, are refused.
    ///
    /// - Parameter channels: 3 for red, green and blue, 1 for grey.
    /// - Throws: `Failure(.noInput)` when the file cannot be read, `Failure(.data)` when it is damaged, too large or of
    ///   another kind.
    package init(path: String, channels: Int = 3) throws {
        try self.init(try InputFile.contents(of: path, atMost: Self.largestFile), path: path, channels: channels)
    }

    /// The same of a file's bytes.
    ///
    /// - Parameters:
    ///   - path: for messages.
    ///   - channels: as above.
    ///   - shrinkage: asked, for JPEG alone, how many times smaller than its height and width a picture may be decoded:
    ///     1, 2, 4 or 8, which takes less time. The result's edges are those of the picture over it, rounded up.
    package init(
        _ bytes: [UInt8], path: String, channels: Int = 3,
        shrinkage: (_ height: Int, _ width: Int) -> Int = { _, _ in 1 }
    ) throws {
        if PNG.isPNG(bytes) {
            self = try PNG.decode(bytes, path: path, channels: channels)
        } else if JPEG.isJPEG(bytes) {
            self = try JPEG.decode(bytes, path: path, channels: channels, shrinkage: shrinkage)
        } else {
            throw Failure(
                .data,
                bytes.isEmpty
                    ? "\(path): empty file, expected a PNG or JPEG picture; fetch it again"
                    : "\(path): neither PNG nor JPEG by its first bytes; convert it to one of them")
        }
    }

    /// Whether a file says that it has 16 bits per channel, of which 8 are read.
    package static func isDeep(_ bytes: [UInt8]) -> Bool { PNG.isPNG(bytes) && PNG.isDeep(bytes) }

    /// Splits interleaved pixels into planes.
    ///
    /// - Parameters:
    ///   - stride: numbers per pixel, of which the first are red, green and blue, or grey where there are one or two.
    ///   - channels: of the result.
    init<Number: FixedWidthInteger & UnsignedInteger>(
        height: Int, width: Int, interleaved: [Number], stride: Int, channels: Int
    ) {
        let area = height * width
        let excessBits = Number.bitWidth - 8
        let isColour = stride > 2
        let split = isColour ? 3 : channels
        let planes = [UInt8](unsafeUninitializedCapacity: split * area) { planes, initialized in
            interleaved.withUnsafeBufferPointer { pixels in
                for channel in 0..<split {
                    let (plane, first) = (planes.baseAddress! + channel * area, isColour ? channel : 0)
                    for i in 0..<area {
                        plane[i] = UInt8(truncatingIfNeeded: pixels[i * stride + first] >> excessBits)
                    }
                }
            }
            initialized = split * area
        }
        let picture = Picture(height: height, width: width, planes: planes)
        self = split > channels ? picture.grey : picture
    }

    /// A picture in colour, in grey.
    package var grey: Picture {
        let area = height * width
        let plane = [UInt8](unsafeUninitializedCapacity: area) { plane, initialized in
            planes.withUnsafeBufferPointer { colours in
                PixelPlanes(colours.baseAddress!, channels: 3, height: height, width: width)
                    .writeGrey(into: plane.baseAddress!)
            }
            initialized = area
        }
        return Picture(height: height, width: width, planes: plane)
    }

    /// Shape [height][width][channels].
    var interleaved: [UInt8] {
        let (area, channels) = (height * width, channels)
        return [UInt8](unsafeUninitializedCapacity: channels * area) { pixels, initialized in
            for i in 0..<area {
                for channel in 0..<channels { pixels[channels * i + channel] = planes[channel * area + i] }
            }
            initialized = channels * area
        }
    }

    /// The picture as a PNG file.
    ///
    /// - Throws: `Failure(.internal)` with libpng's words.
    package var png: [UInt8] { get throws { try PNG.encode(self) } }

    /// - Throws: `Failure(.data)` for a size that is refused.
    static func validate(height: Int, width: Int, path: String) throws {
        guard (1...largestEdge).contains(height), (1...largestEdge).contains(width), height * width <= largestArea
        else { throw tooLarge(height: height, width: width, path: path) }
    }

    static func tooLarge(height: Int, width: Int, path: String) -> Failure {
        Failure(
            .data,
            "\(path): is \(width) × \(height) pixels, expected up to \(largestEdge) each way and \(largestArea) in all;"
                + " make it smaller")
    }

    /// - Parameter problem: the decoding library's words.
    static func broken(_ kind: String, _ problem: String, path: String) -> Failure {
        Failure(.data, "\(path): cannot be decoded as \(kind): \(problem); the file is damaged, fetch it again")
    }
}
