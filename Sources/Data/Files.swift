import Glibc
import Support

/// The system's words for the error of the last call that failed.
func systemError() -> String { String(cString: strerror(errno)) }

/// What a path leads to, as far as this module cares.
enum PathKind: Equatable {
    case missing, folder, other
    /// Something is there that leads nowhere, or the system does not let us see it; why, in words.
    case unusable(String)

    init(of path: String) {
        var status = stat()
        if stat(path, &status) == 0 {
            self = status.st_mode & S_IFMT == S_IFDIR ? .folder : .other
        } else if errno != ENOENT && errno != ENOTDIR {
            self = .unusable(systemError())
        } else {
            self = lstat(path, &status) == 0 ? .unusable("a link to something that is not there") : .missing
        }
    }
}

/// Whether there is something at a path that can be opened.
///
/// - Throws: `Failure(.noInput)` where something is there that cannot.
func isThere(_ path: String) throws -> Bool {
    let kind = PathKind(of: path)
    if case .unusable(let why) = kind { throw Failure(.noInput, "\(path): \(why)") }
    return kind != .missing
}
