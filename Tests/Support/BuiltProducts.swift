import Glibc

/// The path of an executable built together with the running tests.
///
/// The test runner is either the test bundle itself or a helper with the bundle's path as an argument; the executables
/// are beside the bundle or in a parent folder.
///
/// - Throws: `ProgramError` if there is no such file.
public func builtExecutable(named name: String) throws -> String {
    let starts = [resolved("/proc/self/exe")] + CommandLine.arguments.filter { $0.contains(".xctest") }.map(resolved)
    for start in starts.compactMap({ $0 }) {
        var folder = start[...]
        for _ in 0..<4 {
            guard let slash = folder.lastIndex(of: "/") else { break }
            folder = folder[..<slash]
            let candidate = "\(folder)/\(name)"
            if isProgram(candidate) { return candidate }
        }
    }
    throw ProgramError(
        description: "\(name) is not among the built products near \(starts.compactMap { $0 }); "
            + "run the tests with `swift test`")
}

/// Whether `Tests/sanitizers.sh` runs the tests: then programs keep memory that they have given back, and need the
/// sanitizer's variables.
public let isSanitized = getenv("DENSENET_SANITIZER") != nil

/// Prints why a test is cancelled, which the runner does not do for one of several cases, and returns the reason.
public func saying(_ reason: String) -> String {
    print("skipped: \(reason)")
    return reason
}

private func resolved(_ path: String) -> String? {
    guard let text = realpath(path, nil) else { return nil }
    defer { free(text) }
    return String(cString: text)
}

private func isProgram(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
}
