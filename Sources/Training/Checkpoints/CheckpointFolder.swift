import Support

/// The checkpoints of a run, one safetensors file each, named by epoch and global step. Rank zero alone has one.
package struct CheckpointFolder: Sendable {
    package let path: String
    /// How many to keep, from the newest back.
    package let keep: Int
    private let warn: @Sendable (String) -> Void

    /// - Parameter warn: called where something has to be said that is no failure.
    package init(path: String, keep: Int = 3, warn: @escaping @Sendable (String) -> Void = { _ in }) {
        precondition(keep >= 1, "a run without a checkpoint cannot be resumed")
        self.path = path
        self.keep = keep
        self.warn = warn
    }

    /// Writes a checkpoint atomically, then removes those older than the last `keep` up to this one, but for `best`.
    ///
    /// Files newer than the one written are left alone: damaged rests from before a resume, which must not push out
    /// good ones.
    ///
    /// A folder that has gone is made again, with a warning.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; all older checkpoints stand then.
    package func write(_ checkpoint: Checkpoint, sparing best: CheckpointPosition? = nil) throws {
        func write() throws {
            try checkpoint.write(to: file(checkpoint.position))
            for old in try positions().filter({ $0 <= checkpoint.position }).dropLast(keep) where old != best {
                FileSystem.remove(file(old))
            }
        }
        do { try write() } catch  where (try? FileSystem.makeFolder(path)) == true {
            warn("\(path) was gone, and older checkpoints with it; it has been made again")
            try write()
        }
    }

    /// The newest checkpoint that is whole, with a line of warning for each newer one that is not; nil when there is
    /// none at all.
    ///
    /// - Throws: `Failure(.noInput)` when the folder cannot be read, `Failure(.data)` when all checkpoints in it are
    ///   damaged or the newest one that is whole is of a newer program.
    package func newestValid() throws -> (checkpoint: StoredCheckpoint, warnings: [String])? {
        var damages: [Failure] = []
        for position in try positions().reversed() {
            let checkpoint: StoredCheckpoint
            do { checkpoint = try StoredCheckpoint(path: file(position), position: position) } catch let damage
                as Failure
            {
                damages.append(damage)
                continue
            }
            try FormatVersion.check(checkpoint.file.metadata["version"].flatMap { Int($0) }, of: checkpoint.file.path)
            return (checkpoint, damages.map { "skipped a damaged checkpoint: \($0)" })
        }
        guard let first = damages.first else { return nil }
        throw Failure(.data, "\(path): none of \(damages.count) checkpoints can be used; the newest: \(first)")
    }

    /// All checkpoints by name, oldest first, whole or not.
    func positions() throws -> [CheckpointPosition] {
        try FileSystem.names(inFolder: path).compactMap(CheckpointPosition.init(fileName:)).sorted()
    }

    private func file(_ position: CheckpointPosition) -> String { path + "/" + position.fileName }
}
