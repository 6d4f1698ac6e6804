import ImageData
import Support

/// Writes the files of a data set that are in its archive into a folder; a compressed tar archive from anywhere.
///
/// Only regular files of the names that the data set has are written, each once and up to the size that it may have;
/// their paths are put together here, not taken from the archive. Other regular files are passed over.
///
/// - Parameters:
///   - archive: the file, which messages name.
///   - folder: exists and has none of the files.
/// - Throws: `Failure(.data)` if the archive is damaged, or has a member that is a link, a device or the like, has a path
///   that leads outside or is larger than it may be; `Failure(.unavailable)` if the system refuses to write. Files may
///   be in the folder then.
package func unpack(_ archive: InputFile, of variant: CIFAR.Variant, into folder: String) throws {
    var reader = TarReader(try GzipReader(archive))
    let largest = variant.largestFiles
    var written: Set<String> = []
    var passedOver = 0
    while let header = try reader.next() {
        let member = "\(archive.path): its member \(header.name)"
        if case .other(let kind) = header.kind {
            throw Failure(
                .data, "\(member) is \(kind), expected files and folders; it is not \(variant.title)'s archive")
        }
        let path = try components(of: header.name, member)
        guard header.kind == .file, path.count == 2, path[0] == variant.folder, let limit = largest[path[1]] else {
            passedOver += header.size
            guard passedOver <= largestRest else {
                throw Failure(.data, "\(member) has \(header.size) bytes; it is not \(variant.title)'s archive")
            }
            continue
        }
        guard header.size <= limit else {
            throw Failure(
                .data,
                "\(member) has \(header.size) bytes, expected at most \(limit); it is not \(variant.title)'s archive")
        }
        guard written.insert(path[1]).inserted else {
            throw Failure(.data, "\(member) is there twice; it is not \(variant.title)'s archive")
        }
        try AtomicFile.write("\(folder)/\(path[1])") { output in
            try unsafe reader.read { try unsafe output.write($0) }
        }
    }
}

/// The bytes of all members together that are none of the data set's files.
private let largestRest = 1 << 20

/// The parts of a path below the archive's top.
///
/// - Throws: `Failure(.data)` if it leads outside.
private func components(of name: String, _ member: String) throws -> [String] {
    let parts = name.split(separator: "/").map(String.init).filter { $0 != "." }
    guard !name.hasPrefix("/"), !parts.contains("..") else {
        throw Failure(.data, "\(member) has a path that leads outside; nothing was unpacked")
    }
    return parts
}
