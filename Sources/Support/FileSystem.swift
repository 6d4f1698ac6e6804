import Glibc
import SystemPackage

/// Operations on paths that swift-system lacks.
package enum FileSystem {
    /// Whether a file or folder exists.
    ///
    /// - Throws: `Failure(.noInput)` if it exists but cannot be read, such as a dangling link.
    package static func exists(_ path: String) throws(Failure) -> Bool {
        switch PathKind(of: path) {
        case .folder, .other: return true
        case .missing: return false
        case .unusable(let failure): throw failure
        }
    }

    /// Creates a folder, whose parent must exist.
    ///
    /// - Returns: false if something of that name already exists.
    /// - Throws: `Failure(.unavailable)` if the system refuses.
    @discardableResult
    package static func makeFolder(_ path: String) throws(Failure) -> Bool {
        do { try check { unsafe mkdir(path, 0o777) } } catch .fileExists { return false } catch {
            throw .system("cannot make the folder", path, error)
        }
        return true
    }

    /// Creates a folder and its parents unless they exist.
    ///
    /// - Throws: `Failure(.unavailable)` if the system refuses, or if a file has the folder's name.
    package static func makeFolderAndParents(_ path: String) throws(Failure) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            prefix += part + "/"
            do { try check { unsafe mkdir(prefix, 0o777) } } catch .fileExists {} catch {
                throw .system("cannot make the folder", path, error)
            }
        }
        guard PathKind(of: path) != .other else {
            throw Failure(
                .unavailable, "cannot make the folder \(path): a file of that name exists; choose another path")
        }
    }

    /// Renames a file or folder, replacing a file, or an empty folder, of the new name.
    package static func rename(_ path: String, to newPath: String) throws(Errno) {
        try check { unsafe Glibc.rename(path, newPath) }
    }

    /// Removes a file; ignores errors.
    package static func remove(_ path: String) { try? check { unsafe unlink(path) } }

    /// Removes a folder and the files in it, or a file or link of that name; ignores errors. Folders in it stay, and it
    /// with them.
    package static func removeFolder(_ path: String) {
        // First as a link: what that leads to is someone else's.
        remove(path)
        guard PathKind(of: path) == .folder else { return }
        for name in (try? names(inFolder: path)) ?? [] { remove("\(path)/\(name)") }
        try? check { unsafe rmdir(path) }
    }

    /// The resolved path of this process's executable.
    ///
    /// - Throws: `Failure(.noInput)` if the system does not say.
    package static func programFile() throws(Failure) -> String {
        let link = "/proc/self/exe"
        guard let path = unsafe realpath(link, nil) else { throw unreadable(link) }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }

    /// The names of the entries of a folder, in no particular order; what is not UTF-8 in them is replaced.
    ///
    /// - Throws: `Failure(.noInput)` if it cannot be read.
    package static func names(inFolder path: String) throws(Failure) -> [String] {
        try entries(ofFolder: path).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The bytes of the names of the entries of a folder, in no particular order.
    ///
    /// - Throws: `Failure(.noInput)` if it cannot be read.
    package static func entries(ofFolder path: String) throws(Failure) -> [[UInt8]] {
        guard let folder = unsafe opendir(path) else { throw unreadable(path) }
        defer { unsafe closedir(folder) }
        var names: [[UInt8]] = []
        errno = 0
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { unsafe Array($0.prefix { $0 != 0 }) }
            if name != [UInt8(ascii: ".")], name != [UInt8(ascii: "."), UInt8(ascii: ".")] { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw unreadable(path) }
        return names
    }

    private static func unreadable(_ path: String) -> Failure {
        .system("cannot read", path, Errno(rawValue: errno), .noInput)
    }

    /// The contents of a short file of /proc or /sys, whose size is unknown until it is read; nil if it cannot be read.
    package static func contents(ofSystemFile path: String) -> String? {
        guard let file = try? unsafe FileDescriptor.open(path, .readOnly, options: .closeOnExec) else { return nil }
        return try? file.closeAfter {
            try unsafe String(unsafeUninitializedCapacity: 1 << 14) { buffer in
                try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
            }
        }
    }

    /// Repeats a call that a signal interrupts.
    fileprivate static func check(_ call: () -> Int32) throws(Errno) {
        while call() != 0 {
            let error = Errno(rawValue: errno)
            guard error == .interrupted else { throw error }
        }
    }
}

/// What the system says of a file or folder, links followed.
package struct FileFacts: Sendable, Equatable {
    package let isFolder: Bool
    /// A file that has bytes to read: no pipe, no device.
    package let isFile: Bool
    /// In bytes.
    package let size: Int
    /// When it was changed last, in nanoseconds since 1970.
    package let modified: Int
    /// The same for two paths that lead to one file or folder.
    package let device, inode: UInt64

    /// Of a name that leads to nothing.
    package static let nothing = FileFacts()

    private init() { (isFolder, isFile, size, modified, device, inode) = (false, false, 0, 0, 0, 0) }

    /// - Throws: `Failure(.noInput)` if the system does not say.
    package init(of path: String) throws(Failure) {
        self = try explainingErrors("cannot read", path, .noInput) { FileFacts(try unsafe Stat(path)) }
    }

    init(_ status: Stat) {
        (isFolder, isFile) = (status.type == .directory, status.type == .regular)
        size = Int(status.size)
        modified = status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec
        device = UInt64(status.rawValue.st_dev)
        inode = UInt64(status.rawValue.st_ino)
    }
}

/// What a path refers to.
package enum PathKind: Equatable {
    case folder
    /// Anything that exists and is not a folder.
    case other
    /// Nothing exists there; the failure to throw when it is needed.
    case missing(Failure)
    /// A dangling link, or something that this user may not access; the failure to throw when it is needed.
    case unusable(Failure)

    package init(of path: String) {
        do {
            let isFolder = try unsafe Stat(path).type == .directory
            if isFolder { try FileSystem.check { unsafe access(path, X_OK) } }
            self = isFolder ? .folder : .other
        } catch {
            let failure = Failure.system("cannot read", path, error, .noInput)
            guard error == .noSuchFileOrDirectory || error == .notDirectory else {
                self = .unusable(failure)
                return
            }
            let isLink = unsafe (try? Stat(path, followTargetSymlink: false)) != nil
            self =
                isLink
                ? .unusable(Failure(.noInput, "cannot read \(path): it is a link to something that does not exist"))
                : .missing(failure)
        }
    }

    package var isMissing: Bool { if case .missing = self { true } else { false } }

    /// Why nothing can be opened there; nil if something can.
    package var problem: Failure? {
        switch self {
        case .folder, .other: nil
        case .missing(let failure), .unusable(let failure): failure
        }
    }
}

extension FileDescriptor {
    /// Returns once everything written is on the disk (fsync).
    package func synchronize() throws(Errno) { try FileSystem.check { fsync(rawValue) } }

    /// Takes the file's lock, which the system releases with the last copy of the descriptor.
    ///
    /// - Throws: `Errno.wouldBlock` if another process holds it.
    func lock() throws(Errno) { try FileSystem.check { flock(rawValue, LOCK_EX | LOCK_NB) } }

    func unlock() { flock(rawValue, LOCK_UN) }
}
