import SystemPackage

/// Atomic writing of files: a reader sees the old contents or the new, never a part.
package enum AtomicFile {
    /// The temporary file being written; it cannot outlive the closure that writes it.
    package struct Output: ~Copyable {
        fileprivate let descriptor: FileDescriptor
        fileprivate let path: String

        /// Appends all of `bytes`.
        ///
        /// - Throws: `Failure(.unavailable)` if the system refuses.
        package func write(_ bytes: UnsafeRawBufferPointer) throws {
            _ = try explainingErrors("cannot write", path) { try unsafe descriptor.writeAll(bytes) }
        }
    }

    /// Writes `bytes` as `write(_:_:)` does.
    package static func write(_ bytes: some Collection<UInt8>, to path: String) throws {
        try write(path) { output in try unsafe Array(bytes).withUnsafeBytes { try unsafe output.write($0) } }
    }

    /// Writes `PATH.tmp-NUMBER`, fsyncs it, renames it to `path` and fsyncs the folder. Replaces an existing file.
    ///
    /// The number is random and an existing file is never opened, since others might plant a link in a shared folder.
    /// If the process is killed, the temporary file stays behind and the old contents are intact.
    ///
    /// - Throws: `Failure(.unavailable)` if the system refuses, or what `body` throws; the temporary file is then
    ///   removed.
    package static func write(_ path: String, _ body: (borrowing Output) throws -> Void) throws {
        let temporary = path + ".tmp-\(UInt32.random(in: 0 ... .max))"
        try explainingErrors("cannot write", path) {
            let descriptor = try unsafe FileDescriptor.open(
                temporary, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec], permissions: .sharedFile)
            do {
                // Network file systems may report a full disk only now.
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
    package static func synchronizeFolder(of path: String) throws {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = try unsafe FileDescriptor.open(folder, .readOnly, options: [.directory, .closeOnExec])
        try descriptor.closeAfter {
            // Some file systems cannot synchronize a folder.
            do { try descriptor.synchronize() } catch Errno.invalidArgument {}
        }
    }
}

extension FilePermissions {
    /// Read and write for everyone, before the process's umask.
    static let sharedFile = FilePermissions(rawValue: 0o666)
}
