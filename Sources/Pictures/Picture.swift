import Support

/// A picture as bytes: red, green and blue planes, row by row.
package struct Picture: Sendable, Equatable {
    package let height: Int
    package let width: Int
    /// Shape [3][height][width].
    package let planes: [UInt8]

    /// Larger pictures are refused before memory is taken for them: 64 megapixels.
    package static let largestArea = 1 << 26
    /// The largest height or width; JPEG has no larger ones.
    package static let largestEdge = 65_535
    /// The largest file, in bytes.
    package static let largestFile = 1 << 28

    /// - Precondition: as many bytes as the shape [3][height][width] has.
    package init(height: Int, width: Int, planes: [UInt8]) {
        precondition(planes.count == 3 * height * width, "\(planes.count) bytes are not 3 × \(height) × \(width)")
        self.height = height
        self.width = width
        self.planes = planes
    }

    /// Reads a PNG or JPEG file, whichever its first bytes say it is.
    ///
    /// The result is what Pillow's `Image.open(path).convert("RGB")` gives: grey becomes three equal planes, a palette
    /// its colours, an alpha channel is dropped, colour profiles, gamma and orientation are ignored. Pictures with 16
    /// bits per channel and JPEG in CMYK are refused.
    ///
    /// - Throws: `Failure(.noInput)` when the file cannot be read, `Failure(.data)` when it is damaged, too large or of
    ///   another kind.
    package init(path: String) throws {
        try self.init(try InputFile.contents(of: path, atMost: Self.largestFile), path: path)
    }

    /// The same of a file's bytes.
    ///
    /// - Parameter path: for messages.
    package init(_ bytes: [UInt8], path: String) throws {
        if PNG.isPNG(bytes) {
            self = try PNG.decode(bytes, path: path)
        } else if JPEG.isJPEG(bytes) {
            self = try JPEG.decode(bytes, path: path)
        } else {
            throw Failure(
                .data,
                bytes.isEmpty
                    ? "\(path): empty file, expected a PNG or JPEG picture; fetch it again"
                    : "\(path): neither PNG nor JPEG by its first bytes; convert it to one of them")
        }
    }

    /// Splits interleaved pixels into planes.
    ///
    /// - Parameter channels: bytes per pixel, of which the first three are red, green and blue.
    init(height: Int, width: Int, interleaved: [UInt8], channels: Int) {
        let area = height * width
        let planes = [UInt8](unsafeUninitializedCapacity: 3 * area) { planes, initialized in
            interleaved.withUnsafeBufferPointer { pixels in
                for i in 0..<area {
                    for channel in 0..<3 { planes[channel * area + i] = pixels[i * channels + channel] }
                }
            }
            initialized = 3 * area
        }
        self.init(height: height, width: width, planes: planes)
    }

    /// Shape [height][width][3].
    var interleaved: [UInt8] {
        let area = height * width
        return [UInt8](unsafeUninitializedCapacity: 3 * area) { pixels, initialized in
            for i in 0..<area {
                for channel in 0..<3 { pixels[3 * i + channel] = planes[channel * area + i] }
            }
            initialized = 3 * area
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
