import Glibc
import SystemPackage

/// Another program, found in PATH and started without a shell, whose output is read through a pipe.
///
/// It ends when it writes to a pipe that nobody reads: with this object, or with this process however that ends.
package final class ChildProcess {
    private let name: String
    private let output: FileDescriptor
    private let errors: FileDescriptor
    private let process: pid_t
    private var hasEnded = false

    /// - Parameters:
    ///   - input: its standard input; nothing by default.
    ///   - package: Debian's package that has the program, for the message; nil for a program of ours.
    /// - Throws: `Failure(.unavailable)` if it cannot be started.
    package init(_ name: String, _ arguments: [String], input: FileDescriptor? = nil, package: String? = nil) throws {
        self.name = name
        let pipes = try explainingErrors("cannot start", name) {
            // Only the copies that `spawn` makes stay open in the child.
            (
                output: try FileDescriptor.pipe(options: .closeOnExec),
                errors: try FileDescriptor.pipe(options: .closeOnExec)
            )
        }
        defer {
            try? pipes.output.writeEnd.close()
            try? pipes.errors.writeEnd.close()
        }
        (output, errors) = (pipes.output.readEnd, pipes.errors.readEnd)
        do {
            process = try Self.spawn(
                [name] + arguments, input: input, output: pipes.output.writeEnd, errors: pipes.errors.writeEnd)
        } catch {
            try? output.close()
            try? errors.close()
            guard error == .noSuchFileOrDirectory else { throw Failure.system("cannot start", name, error) }
            let advice = package.map { "; install Debian's package \($0)" } ?? ""
            throw Failure(.unavailable, "the program \(name) is missing\(advice)")
        }
    }

    deinit {
        try? output.close()
        try? errors.close()
        guard !hasEnded else { return }
        kill(process, SIGTERM)
        _ = wait()
    }

    /// Waits for output and reads some of it.
    ///
    /// - Returns: how many bytes were read; 0 at the end of the output.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        try explainingErrors("cannot read the output of", name) { try unsafe output.read(into: buffer) }
    }

    /// Reads the output to its end.
    package func readAll() throws -> [UInt8] {
        let buffer = AlignedBuffer<UInt8>(count: 1 << 16)
        let bytes = unsafe UnsafeMutableRawBufferPointer(buffer.elements)
        var all: [UInt8] = []
        while case let count = try unsafe read(into: bytes), count > 0 {
            unsafe all += bytes[..<count]
        }
        return all
    }

    /// Waits for the end.
    ///
    /// - Returns: the exit code, or 128 + the signal that ended it, and what it wrote to its standard error.
    package func end() throws -> (code: Int32, errors: String) {
        let text = try explainingErrors("cannot read the output of", name) {
            try unsafe String(unsafeUninitializedCapacity: 1 << 12) {
                var count = 0
                while count < $0.count {
                    let rest = unsafe UnsafeMutableRawBufferPointer(
                        rebasing: UnsafeMutableRawBufferPointer($0)[count...])
                    let read = try unsafe errors.read(into: rest)
                    if read == 0 { break }
                    count += read
                }
                return count
            }
        }
        return (wait(), text)
    }

    private func wait() -> Int32 {
        var status: Int32 = 0
        while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
        hasEnded = true
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }

    private static func spawn(
        _ words: [String], input: FileDescriptor?, output: FileDescriptor, errors: FileDescriptor
    ) throws(Errno) -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        if let input {
            unsafe posix_spawn_file_actions_adddup2(&actions, input.rawValue, 0)
        } else {
            unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        unsafe posix_spawn_file_actions_adddup2(&actions, output.rawValue, 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, errors.rawValue, 2)
        var pointers = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { while let pointer = unsafe pointers.popLast() { unsafe free(pointer) } }
        var process = pid_t()
        let code = unsafe posix_spawnp(&process, words[0], &actions, nil, &pointers, environ)
        guard code == 0 else { throw Errno(rawValue: code) }
        return process
    }
}
