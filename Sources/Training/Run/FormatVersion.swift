import Support

/// The version of what a run writes for itself and reads again: config.json and checkpoints.
///
/// It grows when an older program would misunderstand a file. Files without one are from before there were versions,
/// and like those of version 1.
enum FormatVersion {
    static let current = 1

    /// - Throws: `Failure(.data)` for a file of a newer program.
    static func check(_ found: Int?, of path: String) throws {
        guard let found, found > current else { return }
        throw Failure(
            .data,
            "\(path): has format version \(found), this program reads up to \(current); use the program that wrote it, or a newer one"
        )
    }
}
