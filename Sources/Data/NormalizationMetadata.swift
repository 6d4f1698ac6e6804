import FoundationEssentials
import Support

/// A normalisation rides in the metadata of a weights file, so that the weights can be used on other images.
extension Normalization {
    private static let metadataKey = "normalization"

    /// The normalisation that a weights file carries; nil where it carries none.
    ///
    /// - Parameters:
    ///   - metadata: the file's, `SafetensorsFile.metadata`.
    ///   - path: the file's, for messages.
    /// - Throws: `Failure(.data)` when it carries one that cannot be understood.
    public init?(metadata: [String: String], path: String) throws {
        guard let text = metadata[Self.metadataKey] else { return nil }
        do { self = try JSONDecoder().decode(Normalization.self, from: Data(text.utf8)) } catch {
            throw Failure(
                .data,
                "\(path): the metadata key '\(Self.metadataKey)' is no normalisation; remove it or give a `normalization`"
            )
        }
    }

    /// What `init(metadata:path:)` reads.
    public var metadata: [String: String] {
        get throws {
            let encoder = JSONEncoder()
            // Equal weights make equal files; unsorted, the keys come in another order each time.
            encoder.outputFormatting = .sortedKeys
            return [Self.metadataKey: String(decoding: try encoder.encode(self), as: UTF8.self)]
        }
    }

    /// The pixels of one picture as a network reads them.
    ///
    /// - Parameters:
    ///   - pixels: shape [3][height][width]: red, green and blue planes.
    ///   - height: of the picture, in pixels.
    ///   - width: of the picture, in pixels.
    /// - Returns: the same shape, normalised.
    /// - Throws: `Failure(.data)` where the normalisation is for pictures of another size, `Failure(.usage)` where there
    ///   are not as many pixels.
    public func normalized(_ pixels: Span<UInt8>, height: Int, width: Int) throws -> [Float] {
        try validate(height: height, width: width)
        let count = ImageSet.channels * height * width
        guard pixels.count == count else {
            throw Failure(.usage, "\(pixels.count) bytes of pixels, expected \(count): 3 × \(height) × \(width)")
        }
        return [Float](unsafeUninitializedCapacity: count) { numbers, initialized in
            guard let start = numbers.baseAddress else { return }
            let image = ImagePlanes(start, height: height, width: width)
            pixels.withUnsafeBufferPointer { bytes in
                if let first = bytes.baseAddress { image.load(first) }
            }
            apply(to: image)
            initialized = count
        }
    }
}
