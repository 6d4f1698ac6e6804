@preconcurrency import Glibc

/// What a program that has ended left behind.
public struct ProgramResult: Sendable {
    /// The exit code, or 128 + the signal that ended it.
    public let status: Int32
    public let output: String
    public let errors: String
}

/// A program that had to be killed at its deadline, or could not be started.
public struct ProgramError: Error, CustomStringConvertible {
    public let description: String
}

/// Runs a program to its end.
///
/// Its output goes to files without names, so that no pipe can fill up and no grandchild can hold the call. At the deadline its
/// process group gets SIGTERM (upon which mpirun ends its ranks) and, five seconds later, SIGKILL. What is left of the group when
/// the program has ended is killed too.
///
/// - Parameters:
///   - environment: variables to set beside those of this process; nil removes one.
///   - timeout: seconds.
/// - Throws: `ProgramError` if the program cannot be started or did not end in time.
public func run(_ executable: String, _ arguments: [String], environment: [String: String?] = [:], timeout: Double = 30)
    throws -> ProgramResult
{
    guard let output = tmpfile(), let errors = tmpfile() else {
        throw ProgramError(description: "no temporary file: errno \(errno)")
    }
    defer { fclose(output); fclose(errors) }
    let child = try spawn(executable, arguments, environment, output: fileno(output), errors: fileno(errors))

    let deadline = seconds() + timeout
    var status: Int32 = 0
    var signalled = false
    while waitpid(child, &status, WNOHANG) == 0 {
        if !signalled, seconds() > deadline {
            signalled = true
            kill(-child, SIGTERM)
        } else if signalled, seconds() > deadline + 5 {
            kill(-child, SIGKILL)
        }
        usleep(2000)
    }
    let result = ProgramResult(
        status: status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f),
        output: contents(of: output), errors: contents(of: errors))
    kill(-child, SIGKILL)
    guard !signalled else {
        throw ProgramError(description: "\(executable) \(arguments.joined(separator: " ")) did not end in \(timeout) s\n"
            + result.output + result.errors)
    }
    return result
}

private func spawn(_ executable: String, _ arguments: [String], _ changes: [String: String?], output: Int32, errors: Int32)
    throws -> pid_t
{
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, errors, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
    posix_spawnattr_setpgroup(&attributes, 0)
    // The thread pool's threads, on which tests run, block signals; the program would never see SIGTERM.
    var noSignals = sigset_t()
    sigemptyset(&noSignals)
    posix_spawnattr_setsigmask(&attributes, &noSignals)

    var words = ([executable] + arguments).map { strdup($0) } + [nil]
    var variables = environmentStrings(changes).map { strdup($0) } + [nil]
    defer { for text in words + variables { free(text) } }
    var child = pid_t()
    let code = posix_spawnp(&child, executable, &actions, &attributes, &words, &variables)
    guard code == 0 else { throw ProgramError(description: "\(executable) cannot be started: \(String(cString: strerror(code)))") }
    return child
}

/// This process's environment with the changes made.
private func environmentStrings(_ changes: [String: String?]) -> [String] {
    var result: [String] = []
    var next = environ
    while let entry = next.pointee {
        let text = String(cString: entry)
        if !changes.keys.contains(String(text.prefix { $0 != "=" })) { result.append(text) }
        next += 1
    }
    for case let (name, value?) in changes { result.append("\(name)=\(value)") }
    return result
}

private func contents(of file: UnsafeMutablePointer<FILE>) -> String {
    let count = Int(lseek(fileno(file), 0, SEEK_END))
    let bytes = [UInt8](unsafeUninitializedCapacity: max(count, 0)) { buffer, initialized in
        initialized = max(pread(fileno(file), buffer.baseAddress, buffer.count, 0), 0)
    }
    return String(decoding: bytes, as: UTF8.self)
}

private func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
