import SystemPackage

/// A file that grows by whole pieces.
package enum LogFile {
    /// Appends bytes and waits until they are on the disk; makes the file where there is none.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; the file is as before then.
    package static func append(_ bytes: [UInt8], to path: String) throws {
        try explainingErrors("cannot write", path) {
            // A link in a folder from elsewhere must not lead the writing to another file, nor a pipe hold it up.
            let descriptor = try FileDescriptor.open(
                path, .writeOnly, options: [.append, .create, .noFollow, .nonBlocking, .closeOnExec],
                permissions: .sharedFile)
            try descriptor.closeAfter {
                let before = try descriptor.seek(offset: 0, from: .end)
                do {
                    try descriptor.writeAll(bytes)
                    try descriptor.synchronize()
                } catch {
                    try? descriptor.resize(to: before)
                    throw error
                }
            }
        }
    }
}
