import FoundationEssentials
import Support

/// Weights files carry their normalization in the metadata, so that it can be applied to other images.
extension Normalization {
    private static let metadataKey = "normalization"

    /// The normalization of a weights file; nil if it has none.
    ///
    /// - Parameters:
    ///   - metadata: the file's, `SafetensorsFile.metadata`.
    ///   - path: the file's, for messages.
    /// - Throws: `Failure(.data)` if it cannot be decoded.
    public init?(metadata: [String: String], path: String) throws {
        guard let text = metadata[Self.metadataKey] else { return nil }
        do { self = try JSONDecoder().decode(Normalization.self, from: Data(text.utf8)) } catch {
            throw Failure(
                .data,
                "\(path): the metadata key '\(Self.metadataKey)' is not a normalization; remove it or use `normalization`"
            )
        }
    }

    /// The metadata that `init(metadata:path:)` reads.
    public var metadata: [String: String] {
        get throws {
            let encoder = JSONEncoder()
            // Unsorted keys would be in a different order each time, and equal weights would give different files.
            encoder.outputFormatting = .sortedKeys
            return [Self.metadataKey: String(decoding: try encoder.encode(self), as: UTF8.self)]
        }
    }

    /// Normalizes the pixels of one image.
    ///
    /// - Parameters:
    ///   - pixels: shape [channels][height][width]: red, green and blue planes, or a grey one.
    ///   - height: of the image, in pixels.
    ///   - width: of the image, in pixels.
    /// - Returns: the network's input, of the same shape.
    /// - Throws: `Failure(.data)` if the normalization is for images of a different size, `Failure(.usage)` if the
    ///   number of pixels is wrong.
    public func normalized(_ pixels: Span<UInt8>, height: Int, width: Int) throws -> [Float] {
        let channels = mean.count
        try validate(channels: channels, height: height, width: width)
        let count = channels * height * width
        guard pixels.count == count else {
            throw Failure(
                .usage, "\(pixels.count) bytes of pixels, expected \(count): \(channels) × \(height) × \(width)")
        }
        return [Float](unsafeUninitializedCapacity: count) { numbers, initialized in
            guard let start = numbers.baseAddress else { return }
            let image = ImagePlanes(start, channels: channels, height: height, width: width)
            pixels.withUnsafeBufferPointer { bytes in
                if let first = bytes.baseAddress { image.load(first) }
            }
            apply(to: image)
            initialized = count
        }
    }
}
