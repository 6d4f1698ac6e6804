import SystemPackage

/// A file that is appended to in complete records.
package enum LogFile {
    /// Appends bytes and waits until they are on the disk. Creates the file if it does not exist.
    ///
    /// - Parameter synchronizes: false leaves it to the system when they get to the disk.
    /// - Throws: `Failure(.unavailable)` if the system refuses; the file is then unchanged.
    package static func append(_ bytes: [UInt8], to path: String, synchronizes: Bool = true) throws {
        try explainingErrors("cannot write", path) {
            // The folder may come from someone else: never write through a link, never wait for the reader of a pipe.
            let descriptor = try unsafe FileDescriptor.open(
                path, .writeOnly, options: [.append, .create, .noFollow, .nonBlocking, .closeOnExec],
                permissions: .sharedFile)
            try descriptor.closeAfter {
                let before = try descriptor.seek(offset: 0, from: .end)
                do {
                    try descriptor.writeAll(bytes)
                    if synchronizes { try descriptor.synchronize() }
                } catch {
                    try? descriptor.resize(to: before)
                    throw error
                }
            }
        }
    }

    /// Removes what follows the first bytes of a file.
    ///
    /// - Throws: `Failure(.unavailable)` if the system refuses.
    package static func truncate(_ path: String, to count: Int) throws {
        try explainingErrors("cannot write", path) {
            let descriptor = try unsafe FileDescriptor.open(
                path, .writeOnly, options: [.noFollow, .nonBlocking, .closeOnExec])
            try descriptor.closeAfter { try descriptor.resize(to: Int64(count)) }
        }
    }
}
