import Glibc

/// A regular file open for reading, closed with its owner; all threads may read it.
///
/// Files are read by `pread`, never mapped: one that shrinks meanwhile, or whose disk fails, is an error in words and
/// not a signal that ends the process. The ranks of a host share the system's cache all the same.
package final class InputFile: Sendable {
    package let path: String
    /// Bytes, when it was opened.
    package let size: Int
    private let descriptor: Int32

    /// - Throws: `Failure(.noInput)` when there is no such file, it is no regular file, or it cannot be read.
    package init(path: String) throws {
        // Without O_NONBLOCK, opening a named pipe would wait for a writer.
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure.unreadable(path) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw Failure(.noInput, "cannot read \(path): it is not a file")
        }
        self.path = path
        size = Int(status.st_size)
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Fills `destination` from byte `offset` on.
    ///
    /// - Throws: `Failure(.data)` when the file has shrunk since it was opened, `Failure(.noInput)` when the system
    ///   refuses.
    package func read(into destination: UnsafeMutableRawBufferPointer, at offset: Int) throws(Failure) {
        var done = 0
        while done < destination.count {
            let count = pread(
                descriptor, destination.baseAddress! + done, destination.count - done, off_t(offset + done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Failure.unreadable(path) }
            guard count > 0 else {
                throw Failure(.data, "\(path): has become shorter than its \(size) bytes while it was read")
            }
            done += count
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
    package func prefetch() { posix_fadvise(descriptor, 0, 0, POSIX_FADV_WILLNEED) }
}

/// The names of all that lies in a folder, in no order.
///
/// - Throws: `Failure(.noInput)` in the system's words when it cannot be read.
package func names(inFolder path: String) throws -> [String] {
    guard let folder = opendir(path) else { throw Failure.unreadable(path) }
    defer { closedir(folder) }
    var names: [String] = []
    errno = 0
    while let entry = readdir(folder) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != ".", name != ".." { names.append(name) }
        errno = 0
    }
    guard errno == 0 else { throw Failure.unreadable(path) }
    return names
}

extension Failure {
    static let openFilesAdvice = "raise the limit of open files (ulimit -n)"

    /// The system's refusal to read a file or folder, in words.
    fileprivate static func unreadable(_ path: String, code: Int32 = errno) -> Failure {
        let advice = code == EMFILE ? "; \(openFilesAdvice)" : ""
        return Failure(.noInput, "cannot read \(path): \(String(cString: strerror(code)))\(advice)")
    }
}
