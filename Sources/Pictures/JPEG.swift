import CTurboJPEG
import Support

/// Decodes JPEG by libjpeg-turbo.
enum JPEG {
    static func isJPEG(_ bytes: [UInt8]) -> Bool { bytes.starts(with: [0xFF, 0xD8, 0xFF]) }

    static func decode(_ bytes: [UInt8], path: String) throws -> Picture {
        guard let decoder = tjInitDecompress() else {
            throw Failure(.unavailable, "\(path): libjpeg-turbo cannot start: \(message(of: nil))")
        }
        defer { tjDestroy(decoder) }
        var (width, height, subsampling, colours) = (Int32(0), Int32(0), Int32(0), Int32(0))
        let size = UInt(bytes.count)
        guard tjDecompressHeader3(decoder, bytes, size, &width, &height, &subsampling, &colours) == 0 else {
            throw Picture.broken("JPEG", message(of: decoder), path: path)
        }
        guard colours != TJCS_CMYK.rawValue, colours != TJCS_YCCK.rawValue else {
            throw Failure(.data, "\(path): is in CMYK, expected grey or RGB; convert it to RGB")
        }
        try Picture.validate(height: Int(height), width: Int(width), path: path)
        // A warning of the library's means that pixels are missing or made up.
        let flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS
        // Not zeroed: of a file that claims a large picture, and has none, no memory is touched.
        let pixels = try [UInt8](unsafeUninitializedCapacity: 3 * Int(height) * Int(width)) { pixels, count in
            guard
                tjDecompress2(
                    decoder, bytes, size, pixels.baseAddress, width, 3 * width, height, Int32(TJPF_RGB.rawValue),
                    Int32(flags)) == 0
            else {
                throw Picture.broken("JPEG", message(of: decoder), path: path)
            }
            count = 3 * Int(height) * Int(width)
        }
        return Picture(height: Int(height), width: Int(width), interleaved: pixels, channels: 3)
    }

    private static func message(of decoder: tjhandle?) -> String { String(cString: tjGetErrorStr2(decoder)) }
}
