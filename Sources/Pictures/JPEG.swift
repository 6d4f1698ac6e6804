import CTurboJPEG
import Support

/// Decodes JPEG by libjpeg-turbo.
enum JPEG {
    static func isJPEG(_ bytes: [UInt8]) -> Bool { bytes.starts(with: [0xFF, 0xD8, 0xFF]) }

    /// As `Picture.init` has it.
    static func decode(
        _ bytes: [UInt8], path: String, channels: Int, shrinkage: (_ height: Int, _ width: Int) -> Int
    ) throws -> Picture {
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
        let shrinkage = Int32(shrinkage(Int(height), Int(width)))
        (height, width) = ((height - 1) / shrinkage + 1, (width - 1) / shrinkage + 1)
        // The grey of a colour is made of its red, green and blue, as everywhere.
        let isGrey = channels == 1 && colours == TJCS_GRAY.rawValue
        let (stride, format) = isGrey ? (1, TJPF_GRAY) : (3, TJPF_RGB)
        // Not zeroed: of a file that claims a large picture, and has none, no memory is touched.
        let pixels = try [UInt8](unsafeUninitializedCapacity: stride * Int(height) * Int(width)) { pixels, count in
            guard
                tjDecompress2(
                    decoder, bytes, size, pixels.baseAddress, width, Int32(stride) * width, height,
                    Int32(format.rawValue), Int32(flags)) == 0
            else {
                throw Picture.broken("JPEG", message(of: decoder), path: path)
            }
            count = stride * Int(height) * Int(width)
        }
        return Picture(
            height: Int(height), width: Int(width), interleaved: pixels, stride: stride, channels: channels)
    }

    private static func message(of decoder: tjhandle?) -> String { String(cString: tjGetErrorStr2(decoder)) }
}
