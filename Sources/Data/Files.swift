import Glibc

/// The system's words for the error of the last call that failed.
func systemError() -> String { String(cString: strerror(errno)) }

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
