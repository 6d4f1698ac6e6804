@preconcurrency import Glibc

/// The result of a program that has ended.
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
/// - Parameters:
///   - environment: variables to set beside those of this process; nil removes one.
///   - timeout: seconds.
/// - Throws: `ProgramError` if the program cannot be started or did not end in time.
public func run(_ executable: String, _ arguments: [String], environment: [String: String?] = [:], timeout: Double = 30)
    throws -> ProgramResult
{
    try RunningProgram(executable, arguments, environment: environment).wait(timeout: timeout)
}

/// A program that runs concurrently with the test, in its own process group.
///
/// Its output goes to unnamed files, so that no pipe can fill up and no grandchild can block the test. When the program
/// has ended, or on deinit, the rest of the group is killed.
public final class RunningProgram {
    public let process: pid_t
    private let command: String
    private let files: (output: UnsafeMutablePointer<FILE>, errors: UnsafeMutablePointer<FILE>)
    private var waitStatus: Int32?

    /// - Throws: `ProgramError` if the program cannot be started.
    public init(_ executable: String, _ arguments: [String], environment: [String: String?] = [:]) throws {
        guard let output = tmpfile(), let errors = tmpfile() else {
            throw ProgramError(description: "no temporary file: errno \(errno)")
        }
        files = (output, errors)
        command = ([executable] + arguments).joined(separator: " ")
        process = try spawn(executable, arguments, environment, output: fileno(output), errors: fileno(errors))
    }

    deinit {
        if waitStatus == nil {
            kill(-process, SIGKILL)
            waitpid(process, nil, 0)
        }
        fclose(files.output)
        fclose(files.errors)
    }

    /// The program's standard output so far.
    public var output: String { contents(of: files.output) }

    /// The program's standard error so far.
    public var errors: String { contents(of: files.errors) }

    /// Whether the program is still running.
    public var isRunning: Bool {
        var status: Int32 = 0
        if waitStatus == nil, waitpid(process, &status, WNOHANG) != 0 {
            waitStatus = status
            // At once: later the number may be another program's.
            kill(-process, SIGKILL)
        }
        return waitStatus == nil
    }

    /// Waits until a condition holds; checks it two hundred times per second.
    ///
    /// - Parameter timeout: seconds.
    /// - Throws: `ProgramError` if the program ends before, or at the timeout.
    public func wait(for event: String, timeout: Double = 30, until holds: () -> Bool) throws {
        let deadline = seconds() + timeout
        while !holds() {
            guard isRunning, seconds() < deadline else {
                throw ProgramError(
                    description: "\(command) \(isRunning ? "took too long" : "ended") before \(event)\n"
                        + contents(of: files.output) + contents(of: files.errors))
            }
            usleep(5000)
        }
    }

    /// Waits for the end. At the deadline the process group gets SIGTERM (upon which mpirun ends its ranks) and, five
    /// seconds later, SIGKILL.
    ///
    /// - Parameter timeout: seconds.
    /// - Throws: `ProgramError` if the program did not end in time.
    public func wait(timeout: Double) throws -> ProgramResult {
        let deadline = seconds() + timeout
        var signalled = false
        while isRunning {
            if !signalled, seconds() > deadline {
                signalled = true
                kill(-process, SIGTERM)
            } else if signalled, seconds() > deadline + 5 {
                kill(-process, SIGKILL)
            }
            usleep(2000)
        }
        let status = waitStatus!
        let result = ProgramResult(
            status: status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f),
            output: contents(of: files.output), errors: contents(of: files.errors))
        guard !signalled else {
            throw ProgramError(description: "\(command) did not end in \(timeout) s\n" + result.output + result.errors)
        }
        return result
    }
}

/// The other processes with a text in their command line; with `program`, only those of an executable of that name.
public func processes(naming text: String, program: String? = nil) -> [pid_t] {
    guard let folder = opendir("/proc") else { return [] }
    defer { closedir(folder) }
    var found: [pid_t] = []
    while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard let process = pid_t(name), process != getpid() else { continue }
        let words = commandLine(of: process)
        if let program, words.first.map({ $0 == program || $0.hasSuffix("/" + program) }) != true { continue }
        if words.contains(where: { $0.contains(text) }) { found.append(process) }
    }
    return found
}

/// Empty for a process that has ended.
private func commandLine(of process: pid_t) -> [String] {
    let file = open("/proc/\(process)/cmdline", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [] }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = max(read(file, &bytes, bytes.count), 0)
    return bytes[..<count].split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
}

/// Kills all processes with a text in their command line, with SIGKILL, until none is left.
public func killAll(naming text: String) {
    while true {
        let left = processes(naming: text)
        guard !left.isEmpty else { return }
        for process in left { kill(process, SIGKILL) }
        usleep(1000)
    }
}

private func spawn(
    _ executable: String, _ arguments: [String], _ changes: [String: String?], output: Int32, errors: Int32
)
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
    // Tests run on threads that block signals; the program would inherit that and never see SIGTERM.
    var noSignals = sigset_t()
    sigemptyset(&noSignals)
    posix_spawnattr_setsigmask(&attributes, &noSignals)

    var words = ([executable] + arguments).map { strdup($0) } + [nil]
    var variables = environmentStrings(changes).map { strdup($0) } + [nil]
    defer { for text in words + variables { free(text) } }
    var child = pid_t()
    let code = posix_spawnp(&child, executable, &actions, &attributes, &words, &variables)
    guard code == 0 else {
        throw ProgramError(description: "\(executable) cannot be started: \(String(cString: strerror(code)))")
    }
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
    for case (let name, let value?) in changes { result.append("\(name)=\(value)") }
    return result
}

private func contents(of file: UnsafeMutablePointer<FILE>) -> String {
    let count = Int(lseek(fileno(file), 0, SEEK_END))
    guard count > 0 else { return "" }
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        initialized = max(pread(fileno(file), buffer.baseAddress, buffer.count, 0), 0)
    }
    return String(decoding: bytes, as: UTF8.self)
}

private func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
