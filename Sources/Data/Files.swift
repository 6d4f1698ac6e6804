import Glibc
import Kernels

/// The system's words for the error of the last call that failed.
func systemError() -> String { String(cString: strerror(errno)) }

/// A file mapped read-only into memory; unmapped with its owner.
final class MappedFile: @unchecked Sendable {
    let path: String
    let bytes: UnsafeRawBufferPointer

    /// Maps a whole file.
    ///
    /// - Throws: `Failure(.noInput)` if it cannot be opened or mapped, `Failure(.data)` if it is no regular file or empty.
    init(path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Failure(.noInput, "\(path): cannot be opened: \(systemError())")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Failure(.noInput, "\(path): cannot be read: \(systemError())") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Failure(.data, "\(path): not a file, expected a regular file") }
        let size = Int(status.st_size)
        guard size > 0 else { throw Failure(.data, "\(path): empty file; fetch or write it again") }
        guard let start = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
            throw Failure(.noInput, "\(path): cannot be mapped into memory: \(systemError())")
        }
        // Records are read in random order, so have the kernel fetch the file in its own order first.
        madvise(start, size, MADV_WILLNEED)
        self.path = path
        bytes = UnsafeRawBufferPointer(start: start, count: size)
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }
}

/// What a path leads to, as far as this module cares.
enum PathKind {
    case missing, folder, other

    init(of path: String) {
        var status = stat()
        if stat(path, &status) != 0 {
            self = .missing
        } else {
            self = status.st_mode & S_IFMT == S_IFDIR ? .folder : .other
        }
    }
}
