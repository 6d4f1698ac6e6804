import Glibc

/// Files that are either whole or not there: whoever opens the path sees the old content or the new one, never a part.
package enum AtomicFile {
    /// The temporary file being written; it cannot outlive the closure that fills it.
    package struct Output: ~Copyable {
        fileprivate let descriptor: Int32
        fileprivate let path: String

        /// Appends all of `bytes`.
        ///
        /// - Throws: `Failure(.unavailable)` when the system refuses.
        package func write(_ bytes: UnsafeRawBufferPointer) throws {
            var rest = bytes[...]
            while !rest.isEmpty {
                let written = Glibc.write(descriptor, rest.base.baseAddress! + rest.startIndex, rest.count)
                if written < 0 && errno == EINTR { continue }
                // Zero would go on for ever; the system gives it for no regular file.
                guard written > 0 else { throw Failure.system("cannot write", path, code: written < 0 ? errno : EIO) }
                rest = rest[(rest.startIndex + written)...]
            }
        }
    }

    /// Writes a file by way of `PATH.tmp-NUMBER`: fill, fsync, rename, fsync of the folder. An existing file is
    /// replaced.
    ///
    /// Nobody can guess the number, and nothing that is there already is opened: in a folder that others may write to,
    /// a link laid out for us would lead to another file.
    ///
    /// A process that is killed leaves the temporary file behind, and the old content untouched.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses, or what `body` throws; the temporary file is gone
    ///   then.
    package static func write(_ path: String, _ body: (borrowing Output) throws -> Void) throws {
        let temporary = path + ".tmp-\(UInt32.random(in: 0 ... .max))"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw Failure.system("cannot write", path) }
        do {
            try fill(descriptor, path, body)
            guard rename(temporary, path) == 0 else { throw Failure.system("cannot write", path) }
        } catch {
            unlink(temporary)
            throw error
        }
        try synchronizeFolder(of: path)
    }

    private static func fill(_ descriptor: Int32, _ path: String, _ body: (borrowing Output) throws -> Void) throws {
        do {
            try body(Output(descriptor: descriptor, path: path))
            guard fsync(descriptor) == 0 else { throw Failure.system("cannot write", path) }
        } catch {
            close(descriptor)
            throw error
        }
        // Network file systems tell of a full disk as late as here.
        guard close(descriptor) == 0 else { throw Failure.system("cannot write", path) }
    }

    /// Makes a rename in the folder of `path` survive a power failure.
    private static func synchronizeFolder(of path: String) throws {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure.system("cannot write", path) }
        defer { close(descriptor) }
        // Some file systems know no fsync of folders and say EINVAL.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw Failure.system("cannot write", path) }
    }
}

extension Failure {
    /// A refused system call in words, for example `cannot write PATH: No space left on device; free some space or …`.
    ///
    /// - Parameters:
    ///   - action: what could not be done, for example `cannot write`.
    ///   - code: the call's `errno`.
    package static func system(_ action: String, _ path: String, code: Int32 = errno) -> Failure {
        let advice =
            switch code {
            case ENOSPC, EDQUOT: "free some space or choose another folder"
            case EACCES, EPERM, EROFS: "choose a folder that this user may write to"
            case ENOENT: "its folder must exist"
            case ENOTDIR: "a part of the path is a file"
            case ELOOP: "it is a link, which is not followed here; remove it"
            case EMFILE: openFilesAdvice
            case EFBIG: "raise the limit of file sizes (ulimit -f)"
            default: "choose another path"
            }
        return Failure(.unavailable, "\(action) \(path): \(String(cString: strerror(code))); \(advice)")
    }
}
