import Glibc
import SystemPackage

/// Operations on paths that swift-system lacks.
package enum FileSystem {
    /// Whether there is something at a path.
    ///
    /// - Throws: `Failure(.noInput)` where something is there that cannot be read, such as a link that leads nowhere.
    package static func exists(_ path: String) throws(Failure) -> Bool {
        switch PathKind(of: path) {
        case .folder, .other: return true
        case .missing: return false
        case .unusable(let failure): throw failure
        }
    }

    /// Makes a folder, whose parent must exist.
    ///
    /// - Returns: false where something of that name is there already.
    /// - Throws: `Failure(.unavailable)` when the system refuses.
    @discardableResult
    package static func makeFolder(_ path: String) throws(Failure) -> Bool {
        do { try check { mkdir(path, 0o777) } } catch .fileExists { return false } catch {
            throw .system("cannot make the folder", path, error)
        }
        return true
    }

    /// Makes a folder and those above it, as far as they are missing.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses, or a file has the folder's name.
    package static func makeFolderAndParents(_ path: String) throws(Failure) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            prefix += part + "/"
            do { try check { mkdir(prefix, 0o777) } } catch .fileExists {} catch {
                throw .system("cannot make the folder", path, error)
            }
        }
        guard PathKind(of: path) != .other else {
            throw Failure(
                .unavailable, "cannot make the folder \(path): there is a file of that name; choose another path")
        }
    }

    /// Gives a file another name, in place of a file that has it.
    static func rename(_ path: String, to newPath: String) throws(Errno) { try check { Glibc.rename(path, newPath) } }

    /// Removes a file, where that is possible.
    package static func remove(_ path: String) { try? check { unlink(path) } }

    /// The file of the program that this process runs, by a path without links.
    ///
    /// - Throws: `Failure(.noInput)` when the system does not say.
    package static func programFile() throws(Failure) -> String {
        let link = "/proc/self/exe"
        guard let path = realpath(link, nil) else { throw unreadable(link) }
        defer { free(path) }
        return String(cString: path)
    }

    /// The names of all that lies in a folder, in no order.
    ///
    /// - Throws: `Failure(.noInput)` when it cannot be read.
    package static func names(inFolder path: String) throws(Failure) -> [String] {
        guard let folder = opendir(path) else { throw unreadable(path) }
        defer { closedir(folder) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw unreadable(path) }
        return names
    }

    private static func unreadable(_ path: String) -> Failure {
        .system("cannot read", path, Errno(rawValue: errno), .noInput)
    }

    /// A short file of /proc or /sys, which have no size before they are read; nil where it cannot be read.
    package static func contents(ofSystemFile path: String) -> String? {
        guard let file = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec) else { return nil }
        return try? file.closeAfter {
            try String(unsafeUninitializedCapacity: 1 << 14) { buffer in
                try file.read(into: UnsafeMutableRawBufferPointer(buffer))
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

/// What a path leads to.
package enum PathKind: Equatable {
    case folder
    /// A file or whatever else is no folder.
    case other
    /// There is nothing; why it cannot be read.
    case missing(Failure)
    /// There is something that leads nowhere, or that this user may not look at; why it cannot be read.
    case unusable(Failure)

    package init(of path: String) {
        do {
            let isFolder = try Stat(path).type == .directory
            if isFolder { try FileSystem.check { access(path, X_OK) } }
            self = isFolder ? .folder : .other
        } catch {
            let failure = Failure.system("cannot read", path, error, .noInput)
            guard error == .noSuchFileOrDirectory || error == .notDirectory else {
                self = .unusable(failure)
                return
            }
            let isLink = (try? Stat(path, followTargetSymlink: false)) != nil
            self =
                isLink
                ? .unusable(Failure(.noInput, "cannot read \(path): it is a link to something that is not there"))
                : .missing(failure)
        }
    }

    package var isMissing: Bool { if case .missing = self { true } else { false } }

    /// Why nothing can be opened there, if so.
    package var problem: Failure? {
        switch self {
        case .folder, .other: nil
        case .missing(let failure), .unusable(let failure): failure
        }
    }
}

extension FileDescriptor {
    /// Returns once all that was written is on the disk.
    package func synchronize() throws(Errno) { try FileSystem.check { fsync(rawValue) } }

    /// Takes the lock that the system drops with the last copy of the descriptor.
    ///
    /// - Throws: `Errno.wouldBlock` where another process has it.
    func lock() throws(Errno) { try FileSystem.check { flock(rawValue, LOCK_EX | LOCK_NB) } }

    func unlock() { flock(rawValue, LOCK_UN) }
}
