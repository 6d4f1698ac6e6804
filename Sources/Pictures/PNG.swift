import CPNG
import Support

/// Decodes and encodes PNG by libpng's simplified interface.
enum PNG {
    private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    static func isPNG(_ bytes: [UInt8]) -> Bool { bytes.starts(with: signature) }

    /// Whether a file's header says that it has 16 bits per channel.
    static func isDeep(_ bytes: [UInt8]) -> Bool {
        // The header's ninth byte, after the chunk's length and name.
        let depth = signature.count + 8 + 8
        return bytes.count > depth && bytes[depth] == 16
    }

    /// As `Picture.init` has it.
    static func decode(_ bytes: [UInt8], path: String, channels: Int) throws -> Picture {
        let bytes = criticalChunks(of: bytes)
        var image = png_image()
        image.version = UInt32(PNG_IMAGE_VERSION)
        defer { png_image_free(&image) }
        return try bytes.withUnsafeBytes { file in
            guard png_image_begin_read_from_memory(&image, file.baseAddress, file.count) != 0 else {
                throw Picture.broken("PNG", message(of: image), path: path)
            }
            let (height, width) = (Int(image.height), Int(image.width))
            try Picture.validate(height: height, width: width, path: path)
            let colour = image.format & UInt32(PNG_FORMAT_FLAG_COLOR)
            if isDeep(bytes) {
                // libpng gives 16 bits with colours multiplied by alpha alone, and otherwise as they are in the file.
                guard image.format & UInt32(PNG_FORMAT_FLAG_ALPHA) == 0 else {
                    throw Failure(
                        .data,
                        "\(path): has 16 bits per channel and an alpha channel; take that away, or convert it to 8")
                }
                image.format = colour | UInt32(PNG_FORMAT_FLAG_LINEAR)
                return try pixels(of: &image, UInt16.self, stride: colour == 0 ? 1 : 3, path, channels: channels)
            }
            // With alpha, as libpng would blend a picture that has it with a background otherwise.
            image.format = colour | UInt32(PNG_FORMAT_FLAG_ALPHA)
            return try pixels(of: &image, UInt8.self, stride: colour == 0 ? 2 : 4, path, channels: channels)
        }
    }

    /// - Parameter stride: numbers per pixel in the image's format.
    private static func pixels<Number: FixedWidthInteger & UnsignedInteger>(
        of image: inout png_image, _ type: Number.Type, stride: Int, _ path: String, channels: Int
    ) throws -> Picture {
        let (height, width) = (Int(image.height), Int(image.width))
        // Not zeroed: of a file that claims a large picture, and has none, no memory is touched.
        let pixels = try [Number](unsafeUninitializedCapacity: stride * height * width) { pixels, count in
            guard png_image_finish_read(&image, nil, pixels.baseAddress, Int32(stride * width), nil) != 0 else {
                throw Picture.broken("PNG", message(of: image), path: path)
            }
            count = stride * height * width
        }
        return Picture(height: height, width: width, interleaved: pixels, stride: stride, channels: channels)
    }

    /// A picture as a file's bytes.
    ///
    /// - Throws: `Failure(.internal)` with libpng's words.
    static func encode(_ picture: Picture) throws -> [UInt8] {
        var image = png_image()
        image.version = UInt32(PNG_IMAGE_VERSION)
        (image.height, image.width) = (UInt32(picture.height), UInt32(picture.width))
        image.format = picture.channels == 1 ? 0 : UInt32(PNG_FORMAT_FLAG_COLOR)
        defer { png_image_free(&image) }
        let pixels = picture.interleaved
        // Asked without memory, libpng says how much it needs.
        var size = png_alloc_size_t()
        guard png_image_write_to_memory(&image, nil, &size, 0, pixels, 0, nil) != 0 else {
            throw Failure(.internal, "a picture cannot be written as PNG: \(message(of: image))")
        }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        guard png_image_write_to_memory(&image, &bytes, &size, 0, pixels, 0, nil) != 0 else {
            throw Failure(.internal, "a picture cannot be written as PNG: \(message(of: image))")
        }
        return Array(bytes.prefix(Int(size)))
    }

    /// A file without its ancillary chunks: libpng would convert colours by gamma and profile, and unpack texts.
    ///
    /// What follows the last whole chunk stays for libpng to judge.
    private static func criticalChunks(of bytes: [UInt8]) -> [UInt8] {
        var kept = signature
        kept.reserveCapacity(bytes.count)
        var start = signature.count
        // A chunk is a length of four bytes, a name of four, the data, and a checksum of four.
        while start + 12 <= bytes.count {
            let length = bytes[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
            guard length <= bytes.count - start - 12 else { break }
            // A small first letter marks what decoders may leave out.
            let isAncillary = bytes[start + 4] & 0x20 != 0
            if !isAncillary { kept += bytes[start..<start + 12 + length] }
            start += 12 + length
        }
        return kept + bytes[start...]
    }

    private static func message(of image: png_image) -> String {
        withUnsafeBytes(of: image.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
