import Glibc
import Support

/// Draws SVG by `rsvg-convert`, a program of its own.
package enum CurvesPicture {
    private static let program = "rsvg-convert"

    /// Writes a drawing as a PNG file, twice its size, atomically.
    ///
    /// - Throws: `Failure(.unavailable)` where `rsvg-convert` is missing or the system refuses; `Failure(.internal)`
    ///   where it fails.
    package static func write(_ svg: String, to path: String) throws {
        guard let input = tmpfile() else { throw Failure(.unavailable, "there is no room for a temporary file") }
        defer { fclose(input) }
        guard let output = tmpfile() else { throw Failure(.unavailable, "there is no room for a temporary file") }
        defer { fclose(output) }
        let text = Array(svg.utf8)
        guard fwrite(text, 1, text.count, input) == text.count, fflush(input) == 0 else {
            throw Failure(.unavailable, "a temporary file cannot be written: the disk may be full")
        }
        rewind(input)
        let status = try convert(fileno(input), to: fileno(output))
        guard status == 0 else {
            throw Failure(.internal, "\(path): \(program) could not draw it and ended with \(status)")
        }
        try AtomicFile.write(contents(of: output), to: path)
    }

    /// - Returns: the program's exit code, or 128 and the signal that has ended it.
    private static func convert(_ input: Int32, to output: Int32) throws -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        let arguments = [program, "--format", "png", "--zoom", "2"]
        var words = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child = pid_t()
        let problem = posix_spawnp(&child, program, &actions, nil, &words, environ)
        guard problem == 0 else {
            throw Failure(
                .unavailable,
                problem == ENOENT
                    ? "`png` needs the program \(program), which is not there; install the package librsvg2-bin"
                    : "\(program) cannot be started: \(String(cString: strerror(problem)))")
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }

    private static func contents(of file: UnsafeMutablePointer<FILE>) -> [UInt8] {
        let size = max(Int(lseek(fileno(file), 0, SEEK_END)), 0)
        return [UInt8](unsafeUninitializedCapacity: size) { bytes, count in
            count = max(pread(fileno(file), bytes.baseAddress, size, 0), 0)
        }
    }
}
