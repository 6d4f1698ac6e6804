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

/// Writes a file under a temporary name in the same folder, then renames it: a reader sees all of it or nothing.
///
/// - Parameter produce: calls its argument with one run of bytes after the other.
/// - Throws: `Failure(.unavailable)` with the path and the system's words; the temporary file is gone then.
func writeWhole(_ path: String, produce: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws {
    let temporary = "\(path).\(getpid()).tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Failure(.unavailable, "\(temporary): cannot be created: \(systemError())") }
    var isOpen = true
    do {
        try produce { run in
            var rest = run[...]
            while !rest.isEmpty {
                let written = write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                if written < 0 && errno == EINTR { continue }
                guard written > 0 else { throw Failure(.unavailable, "\(temporary): cannot be written: \(systemError())") }
                rest = rest.dropFirst(written)
            }
        }
        guard fsync(descriptor) == 0 else { throw Failure(.unavailable, "\(temporary): cannot be written: \(systemError())") }
        isOpen = false
        guard close(descriptor) == 0 else { throw Failure(.unavailable, "\(temporary): cannot be written: \(systemError())") }
        guard rename(temporary, path) == 0 else {
            throw Failure(.unavailable, "\(path): cannot be renamed from \(temporary): \(systemError())")
        }
    } catch {
        if isOpen { close(descriptor) }
        unlink(temporary)
        throw error
    }
}
