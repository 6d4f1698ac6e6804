import Glibc
import SystemPackage

/// A regular file open for reading, closed with its owner; all threads may read it.
///
/// Files are read by `pread`, never mapped: one that shrinks meanwhile, or whose disk fails, is an error in words and
/// not a signal that ends the process. The ranks of a host share the system's cache all the same.
package final class InputFile: Sendable {
    package let path: String
    /// Bytes, when it was opened.
    package let size: Int
    private let descriptor: FileDescriptor

    /// - Throws: `Failure(.noInput)` when there is no such file, it is no regular file, or it cannot be read.
    package init(path: String) throws {
        (descriptor, size) = try explainingErrors("cannot read", path, .noInput) {
            // Without `nonBlocking`, opening a named pipe would wait for a writer.
            let descriptor = try FileDescriptor.open(
                path, .readOnly, options: [.nonBlocking, .noControllingTerminal, .closeOnExec])
            do {
                let status = try Stat(descriptor)
                guard status.type == .regular else {
                    throw Failure(.noInput, "cannot read \(path): it is not a file")
                }
                return (descriptor, Int(status.size))
            } catch {
                try? descriptor.close()
                throw error
            }
        }
        self.path = path
    }

    deinit { try? descriptor.close() }

    /// Fills `destination` from byte `offset` on.
    ///
    /// - Throws: `Failure(.data)` when the file has shrunk since it was opened, `Failure(.noInput)` when the system
    ///   refuses.
    package func read(into destination: UnsafeMutableRawBufferPointer, at offset: Int) throws(Failure) {
        try explainingErrors("cannot read", path, .noInput) {
            var done = 0
            while done < destination.count {
                let rest = UnsafeMutableRawBufferPointer(rebasing: destination[done...])
                let count = try descriptor.read(fromAbsoluteOffset: Int64(offset + done), into: rest)
                guard count > 0 else {
                    throw Failure(.data, "\(path): has become shorter than its \(size) bytes while it was read")
                }
                done += count
            }
        }
    }

    /// All of a small file.
    ///
    /// - Throws: `Failure(.data)` when it has more bytes than `limit`, before memory is taken for them; else as
    ///   `init` and `read`.
    package static func contents(of path: String, atMost limit: Int) throws -> [UInt8] {
        let file = try InputFile(path: path)
        guard file.size <= limit else {
            throw Failure(.data, "\(path): has \(file.size) bytes, at most \(limit) are expected; it is something else")
        }
        var bytes = [UInt8](repeating: 0, count: file.size)
        try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        return bytes
    }

    /// Asks the system to fetch the whole file in its own order, for someone who will read it in another.
    package func prefetch() { posix_fadvise(descriptor.rawValue, 0, 0, POSIX_FADV_WILLNEED) }
}

extension FileDescriptor.OpenOptions {
    /// Opening a terminal does not make it the process's own.
    package static let noControllingTerminal = Self(rawValue: O_NOCTTY)
}
