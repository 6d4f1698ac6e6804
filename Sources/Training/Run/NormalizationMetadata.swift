import FoundationEssentials
import ImageData
import Safetensors
import Support

private let key = "normalization"

/// A normalisation as a weights file carries it, so that the weights can be used on other images.
func normalizationMetadata(_ normalization: Normalization) throws -> [String: String] {
    let encoder = JSONEncoder()
    // Equal weights make equal files; unsorted, the keys come in another order each time.
    encoder.outputFormatting = .sortedKeys
    return [key: String(decoding: try encoder.encode(normalization), as: UTF8.self)]
}

/// The normalisation that a weights file carries; nil where it carries none.
///
/// - Throws: `Failure(.data)` when it carries one that cannot be understood.
package func normalization(in file: SafetensorsFile) throws -> Normalization? {
    guard let text = file.metadata[key] else { return nil }
    do { return try JSONDecoder().decode(Normalization.self, from: Data(text.utf8)) } catch {
        throw Failure(
            .data, "\(file.path): the metadata key '\(key)' is no normalisation; remove it or use --normalize")
    }
}
