import FoundationEssentials
import Support

/// The names of a network's classes, in the order of their labels; the metadata of a weights file carries them.
public struct ClassNames: Sendable, Equatable {
    private static let metadataKey = "classes"

    /// May be fewer than the network's classes, or none.
    public let names: [String]

    /// The names of the first classes, in the order of their labels.
    public init(_ names: [String] = []) { self.names = names }

    /// The names in a weights file, if it has any.
    ///
    /// - Parameters:
    ///   - metadata: the file's, `SafetensorsFile.metadata`.
    ///   - classes: the number of classes of its network.
    ///   - path: the file's, for messages.
    /// - Throws: `Failure(.data)` if they are not a list of names, or more than `classes`.
    public init(metadata: [String: String], classes: Int, path: String) throws {
        guard let text = metadata[Self.metadataKey] else {
            self.init()
            return
        }
        guard let names = try? JSONDecoder().decode([String].self, from: Data(text.utf8)) else {
            throw Failure(
                .data,
                "\(path): the metadata key '\(Self.metadataKey)' is not a JSON array of names; fix or remove it")
        }
        guard names.count <= classes else {
            throw Failure(
                .data,
                "\(path): the metadata key '\(Self.metadataKey)' has \(names.count) names, expected up to \(classes), "
                    + "the network's classes; fix or remove it")
        }
        self.init(names)
    }

    /// The metadata that `init(metadata:classes:path:)` reads; empty if there are no names.
    public var metadata: [String: String] {
        get throws {
            guard !names.isEmpty else { return [:] }
            return [Self.metadataKey: String(decoding: try JSONEncoder().encode(names), as: UTF8.self)]
        }
    }

    /// The name of a class, or `class 7` if it has none.
    public subscript(label: Int) -> String { names.indices.contains(label) ? names[label] : "class \(label)" }
}
