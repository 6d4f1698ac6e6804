import Glibc
import SystemPackage

/// A regular file open for reading, closed on deinit. Thread-safe.
///
/// Files are read with `pread`, not mapped: a file that shrinks meanwhile, or a failing disk, is then an error rather
/// than a fatal signal. The ranks of a host share the page cache either way.
package final class InputFile: Sendable {
    package let path: String
    /// The size in bytes when it was opened.
    package let size: Int
    /// When it was changed last, as of when it was opened, in nanoseconds since 1970.
    package let modified: Int
    /// For programs that read the file to its end themselves.
    package let descriptor: FileDescriptor

    /// - Throws: `Failure(.noInput)` if the file does not exist, is not a regular file, or cannot be read.
    package init(path: String) throws {
        (descriptor, size, modified) = try explainingErrors("cannot read", path, .noInput) {
            // Without `nonBlocking`, opening a named pipe would wait for a writer.
            let descriptor = try unsafe FileDescriptor.open(
                path, .readOnly, options: [.nonBlocking, .noControllingTerminal, .closeOnExec])
            do {
                let facts = FileFacts(try Stat(descriptor))
                guard facts.isFile else { throw Failure(.noInput, "cannot read \(path): it is not a file") }
                return (descriptor, facts.size, facts.modified)
            } catch {
                try? descriptor.close()
                throw error
            }
        }
        self.path = path
    }

    deinit { try? descriptor.close() }

    /// Fills `destination` with the bytes from `offset` on.
    ///
    /// - Throws: `Failure(.data)` if the file has shrunk since it was opened, `Failure(.noInput)` if the system
    ///   refuses.
    package func read(into destination: UnsafeMutableRawBufferPointer, at offset: Int) throws(Failure) {
        try unsafe descriptor.fill(destination, at: offset, of: size, in: path)
    }

    /// The contents of a small file.
    ///
    /// - Throws: `Failure(.data)` if it has more than `limit` bytes; otherwise as `init` and `read`.
    package static func contents(of path: String, atMost limit: Int) throws -> [UInt8] {
        let file = try InputFile(path: path)
        guard file.size <= limit else {
            throw Failure(.data, "\(path): has \(file.size) bytes, expected at most \(limit); it is a different file")
        }
        return try file.contents()
    }

    /// All bytes.
    ///
    /// - Throws: as `read`.
    package func contents() throws(Failure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: size)
        try explainingErrors("cannot read", path, .noInput) {
            try unsafe bytes.withUnsafeMutableBytes { try unsafe read(into: $0, at: 0) }
        }
        return bytes
    }

    /// Asks the system to read the whole file sequentially into its cache, ahead of reads in random order.
    package func prefetch() { posix_fadvise(descriptor.rawValue, 0, 0, POSIX_FADV_WILLNEED) }
}

extension FileDescriptor {
    /// Fills `destination` with the bytes from `offset` on.
    ///
    /// - Parameters:
    ///   - size: what the file had in bytes when it was opened, for messages.
    ///   - path: for messages.
    /// - Throws: `Failure(.data)` if the file ends before, `Failure(.noInput)` if the system refuses.
    package func fill(
        _ destination: UnsafeMutableRawBufferPointer, at offset: Int, of size: Int, in path: String
    ) throws(Failure) {
        try explainingErrors("cannot read", path, .noInput) {
            var done = 0
            while done < destination.count {
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: destination[done...])
                let count = try unsafe read(fromAbsoluteOffset: Int64(offset + done), into: rest)
                guard count > 0 else {
                    throw Failure(.data, "\(path): has become shorter than its \(size) bytes while it was read")
                }
                done += count
            }
        }
    }
}

extension FileDescriptor.OpenOptions {
    /// Opening a terminal does not make it the process's controlling terminal (`O_NOCTTY`).
    package static let noControllingTerminal = Self(rawValue: O_NOCTTY)
}
