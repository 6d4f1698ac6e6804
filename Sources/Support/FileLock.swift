import SystemPackage

/// A lock on a file, held as long as the object lives; the system drops it when the process ends, however it ends.
package final class FileLock: Sendable {
    /// Another process has the lock.
    package struct IsHeld: Error {
        /// What that process wrote into the file.
        package let owner: String
    }

    private let descriptor: FileDescriptor

    /// Makes the file where there is none.
    ///
    /// - Parameter owner: who takes the lock, for others to read in the file.
    /// - Throws: `IsHeld`, or `Failure(.unavailable)` when the system refuses.
    package init(path: String, owner: String) throws {
        descriptor = try explainingErrors("cannot write", path) {
            // A link in a folder from elsewhere must not lead the writing to another file.
            try FileDescriptor.open(
                path, .readWrite, options: [.create, .noFollow, .closeOnExec], permissions: .sharedFile)
        }
        // From here on `deinit` closes it.
        do { try descriptor.lock() } catch .wouldBlock { throw IsHeld(owner: Self.owner(in: descriptor)) } catch {
            throw Failure.system("cannot lock", path, error)
        }
        try explainingErrors("cannot write", path) {
            try descriptor.resize(to: 0)
            try descriptor.writeAll(toAbsoluteOffset: 0, owner.utf8)
        }
    }

    /// Gives the lock up at once, even while a child process that is just starting still has a copy of the descriptor.
    deinit {
        descriptor.unlock()
        try? descriptor.close()
    }

    private static func owner(in descriptor: FileDescriptor) -> String {
        let text = try? String(unsafeUninitializedCapacity: 300) { buffer in
            try descriptor.read(fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
        }
        return text.flatMap { $0.isEmpty ? nil : $0 } ?? "another process"
    }
}
