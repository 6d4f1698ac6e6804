import CPNG
import Support

/// Decodes and encodes PNG by libpng's simplified interface.
enum PNG {
    private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    static func isPNG(_ bytes: [UInt8]) -> Bool { bytes.starts(with: signature) }

    static func decode(_ bytes: [UInt8], path: String) throws -> Picture {
        let bytes = criticalChunks(of: bytes)
        // The header's ninth byte, after the chunk's length and name.
        let depth = signature.count + 8 + 8
        if bytes.count > depth, bytes[depth] == 16 {
            throw Failure(.data, "\(path): has 16 bits per channel, expected up to 8; convert it to 8")
        }
        var image = png_image()
        image.version = UInt32(PNG_IMAGE_VERSION)
        defer { png_image_free(&image) }
        return try bytes.withUnsafeBytes { file in
            guard png_image_begin_read_from_memory(&image, file.baseAddress, file.count) != 0 else {
                throw Picture.broken("PNG", message(of: image), path: path)
            }
            let (height, width) = (Int(image.height), Int(image.width))
            try Picture.validate(height: height, width: width, path: path)
            // With alpha, as libpng would blend a picture that has it with a background otherwise.
            image.format = UInt32(PNG_FORMAT_FLAG_COLOR | PNG_FORMAT_FLAG_ALPHA)
            // Not zeroed: of a file that claims a large picture, and has none, no memory is touched.
            let pixels = try [UInt8](unsafeUninitializedCapacity: 4 * height * width) { pixels, count in
                guard png_image_finish_read(&image, nil, pixels.baseAddress, Int32(4 * width), nil) != 0 else {
                    throw Picture.broken("PNG", message(of: image), path: path)
                }
                count = 4 * height * width
            }
            return Picture(height: height, width: width, interleaved: pixels, channels: 4)
        }
    }

    /// A picture as a file's bytes.
    ///
    /// - Throws: `Failure(.internal)` with libpng's words.
    static func encode(_ picture: Picture) throws -> [UInt8] {
        var image = png_image()
        image.version = UInt32(PNG_IMAGE_VERSION)
        (image.height, image.width) = (UInt32(picture.height), UInt32(picture.width))
        image.format = UInt32(PNG_FORMAT_FLAG_COLOR)
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
