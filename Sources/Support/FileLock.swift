import SystemPackage

/// A lock on a file, held as long as the object lives; the system releases it when the process ends in any way.
package final class FileLock: Sendable {
    /// Another process holds the lock.
    package struct AlreadyLocked: Error {
        /// What that process wrote into the file.
        package let owner: String
    }

    private let descriptor: FileDescriptor

    /// Creates the file if it does not exist.
    ///
    /// - Parameter owner: describes this process to others; written into the file.
    /// - Throws: `AlreadyLocked`, or `Failure(.unavailable)` if the system refuses.
    package init(path: String, owner: String) throws {
        descriptor = try explainingErrors("cannot write", path) {
            // The folder may come from someone else: never write through a link.
            try unsafe FileDescriptor.open(
                path, .readWrite, options: [.create, .noFollow, .closeOnExec], permissions: .sharedFile)
        }
        // From here on `deinit` closes it.
        do { try descriptor.lock() } catch .wouldBlock { throw AlreadyLocked(owner: Self.owner(in: descriptor)) } catch
        {
            throw Failure.system("cannot lock", path, error)
        }
        try explainingErrors("cannot write", path) {
            try descriptor.resize(to: 0)
            try descriptor.writeAll(toAbsoluteOffset: 0, owner.utf8)
        }
    }

    /// Releases the lock at once, even if a child process that is just starting still has a copy of the descriptor.
    deinit {
        descriptor.unlock()
        try? descriptor.close()
    }

    private static func owner(in descriptor: FileDescriptor) -> String {
        let text = try? unsafe String(unsafeUninitializedCapacity: 300) { buffer in
            try unsafe descriptor.read(fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
        }
        return text.flatMap { $0.isEmpty ? nil : $0 } ?? "another process"
    }
}
