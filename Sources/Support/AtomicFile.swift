import SystemPackage

/// Files that are either whole or not there: whoever opens the path sees the old content or the new one, never a part.
package enum AtomicFile {
    /// The temporary file being written; it cannot outlive the closure that fills it.
    package struct Output: ~Copyable {
        fileprivate let descriptor: FileDescriptor
        fileprivate let path: String

        /// Appends all of `bytes`.
        ///
        /// - Throws: `Failure(.unavailable)` when the system refuses.
        package func write(_ bytes: UnsafeRawBufferPointer) throws {
            _ = try explainingErrors("cannot write", path) { try descriptor.writeAll(bytes) }
        }
    }

    /// Writes a file as `write(_:_:)` does, of these bytes.
    package static func write(_ bytes: some Collection<UInt8>, to path: String) throws {
        try write(path) { output in try Array(bytes).withUnsafeBytes { try output.write($0) } }
    }

    /// Writes a file by way of `PATH.tmp-NUMBER`: fill, fsync, rename, fsync of the folder. An existing file is
    /// replaced.
    ///
    /// Nobody can guess the number, and nothing that is there already is opened: in a folder that others may write to,
    /// a link laid out for us would lead to another file.
    ///
    /// A process that is killed leaves the temporary file behind, and the old content untouched.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses, or what `body` throws; the temporary file is gone
    ///   then.
    package static func write(_ path: String, _ body: (borrowing Output) throws -> Void) throws {
        let temporary = path + ".tmp-\(UInt32.random(in: 0 ... .max))"
        try explainingErrors("cannot write", path) {
            let descriptor = try FileDescriptor.open(
                temporary, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec], permissions: .sharedFile)
            do {
                // Network file systems tell of a full disk as late as at the end.
                try descriptor.closeAfter {
                    try body(Output(descriptor: descriptor, path: path))
                    try descriptor.synchronize()
                }
                try FileSystem.rename(temporary, to: path)
            } catch {
                FileSystem.remove(temporary)
                throw error
            }
            try synchronizeFolder(of: path)
        }
    }

    /// Makes a rename in the folder of `path` survive a power failure.
    private static func synchronizeFolder(of path: String) throws {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = try FileDescriptor.open(folder, .readOnly, options: [.directory, .closeOnExec])
        try descriptor.closeAfter {
            // Some file systems cannot synchronize a folder.
            do { try descriptor.synchronize() } catch Errno.invalidArgument {}
        }
    }
}

extension FilePermissions {
    /// What all may read and write, less what the process's mask takes away.
    static let sharedFile = FilePermissions(rawValue: 0o666)
}
