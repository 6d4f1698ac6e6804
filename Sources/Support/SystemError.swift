import SystemPackage

extension Failure {
    /// A failed system call: what was tried, the path, the reason and what to do, such as
    /// `cannot write PATH: No space left on device; free some space or choose another folder`.
    ///
    /// - Parameters:
    ///   - action: such as `cannot write`.
    ///   - kind: with `.unavailable` the message always ends with advice.
    package static func system(
        _ action: String, _ path: String, _ error: Errno, _ kind: Kind = .unavailable
    ) -> Failure {
        let advises = error == .tooManyOpenFiles || kind == .unavailable
        return Failure(kind, "\(action) \(path): \(error)\(advises ? "; \(advice(on: error))" : "")")
    }

    private static func advice(on error: Errno) -> String {
        switch error {
        case .noSpace, .diskQuotaExceeded: "free some space or choose another folder"
        case .permissionDenied, .notPermitted, .readOnlyFileSystem: "choose a folder that this user may write to"
        case .noSuchFileOrDirectory: "its folder must exist"
        case .notDirectory: "a part of the path is a file"
        case .tooManySymbolicLinkLevels: "it is a link, which is not followed here; remove it"
        case .tooManyOpenFiles: "raise the limit of open files (ulimit -n)"
        case .fileTooLarge: "raise the limit of file sizes (ulimit -f)"
        default: "choose another path"
        }
    }
}

/// Runs `body`; an `Errno` that it throws becomes `Failure.system`.
package func explainingErrors<Result>(
    _ action: String, _ path: String, _ kind: Failure.Kind = .unavailable, _ body: () throws -> Result
) throws(Failure) -> Result {
    do { return try body() } catch let error as Errno {
        throw Failure.system(action, path, error, kind)
    } catch {
        throw error as? Failure ?? Failure(.internal, "\(action) \(path): \(error)")
    }
}
