import DataParallel
import FoundationEssentials
import Glibc
import Support

/// The folder of one training run, held under a lock as long as the object lives. Rank zero alone has one.
///
///     RUN/config.json            all options as resolved
///     RUN/metrics.jsonl          a line an epoch
///     RUN/checkpoints/           see `CheckpointFolder`
///     RUN/best.safetensors       the weights of the epoch with the best test accuracy
///     RUN/weights.safetensors    the result
///     RUN/ranks/                 each rank's heartbeat while the run is active; see `Watchdog`
///     RUN/.lock                  who is at work here
package final class RunFolder: Sendable {
    package let path: String
    package var configuration: String { path + "/config.json" }
    package var metrics: String { path + "/metrics.jsonl" }
    package var checkpoints: String { path + "/checkpoints" }
    package var best: String { path + "/best.safetensors" }
    package var ranks: String { Self.ranks(of: path) }
    package var weights: String { path + "/weights.safetensors" }
    private let lock: Int32

    /// Makes the folder (and its parents) for a new run, or opens that of a run to be resumed, and locks it.
    ///
    /// - Throws: `Failure(.unavailable)` when the folder cannot be made or written, or another process works in it;
    ///   `Failure(.usage)` when a new run is wanted where one is already; `Failure(.noInput)` when there is none to
    ///   resume.
    package init(path: String, resuming: Bool) throws {
        let configuration = path + "/config.json"
        guard !resuming || access(configuration, F_OK) == 0 else {
            throw Failure(
                .noInput, "\(path) holds no run to resume: \(configuration): \(String(cString: strerror(errno)))")
        }
        try Self.makeFolder(path)
        let lock = try Self.lockFolder(path)
        do {
            guard resuming || access(configuration, F_OK) != 0 else {
                throw Failure(
                    .usage, "\(path) already holds a run; resume with: `resuming` \(path), or choose another folder")
            }
            try Self.makeFolder(path + "/checkpoints")
            PostMortem.clear(Self.ranks(of: path))
            try Self.removeTemporaries(in: path)
            try Self.removeTemporaries(in: path + "/checkpoints")
        } catch {
            Self.unlock(lock)
            throw error
        }
        self.path = path
        self.lock = lock
    }

    /// Makes a folder for a new run below another, named after the time and the model; of several runs that want the
    /// same name the others get `NAME-2`, `NAME-3`, ….
    ///
    /// - Returns: its path.
    /// - Throws: `Failure(.unavailable)` when it cannot be made.
    package static func makeNew(below parent: String, model: String) throws -> String {
        try makeFolder(parent)
        let name = "\(parent)/\(timestamp())-\(model)"
        var (path, count) = (name, 1)
        while mkdir(path, 0o777) != 0 {
            guard errno == EEXIST else { throw Failure.system("cannot make the folder", path) }
            count += 1
            path = "\(name)-\(count)"
        }
        return path
    }

    /// Local time, as 2026-01-31-235959.
    private static func timestamp() -> String {
        var now = time(nil)
        var parts = tm()
        localtime_r(&now, &parts)
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { text in
            strftime(text.baseAddress!, text.count, "%Y-%m-%d-%H%M%S", &parts)
            return String(cString: text.baseAddress!)
        }
    }

    deinit { Self.unlock(lock) }

    /// Where the ranks of the run in a folder write their heartbeats; ranks other than zero need it as well.
    package static func ranks(of path: String) -> String { path + "/ranks" }

    /// Writes config.json: readable, keys sorted, whole or not at all.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses.
    package func writeConfiguration(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let text: [UInt8]
        do { text = Array(try encoder.encode(value)) + [UInt8(ascii: "\n")] } catch {
            throw Failure(.internal, "the configuration cannot be written as JSON: \(error)")
        }
        try AtomicFile.write(configuration) { output in try text.withUnsafeBytes { try output.write($0) } }
    }

    /// Reads config.json.
    ///
    /// - Throws: `Failure(.noInput)` when it cannot be read, `Failure(.data)` naming the key that is missing or wrong.
    package func readConfiguration<Value: Decodable>(as type: Value.Type = Value.self) throws -> Value {
        let text = Data(try InputFile.contents(of: configuration, atMost: 1 << 20))
        do { return try JSONDecoder().decode(type, from: text) } catch let error as DecodingError {
            throw Failure(.data, "\(configuration): \(Self.oneLine(error))")
        }
    }

    private static func oneLine(_ error: DecodingError) -> String {
        let (keys, problem): ([any CodingKey], String) =
            switch error {
            case .typeMismatch(let type, let context): (context.codingPath, "is not of type \(type)")
            case .valueNotFound(let type, let context): (context.codingPath, "is null, expected \(type)")
            case .keyNotFound(let key, let context): (context.codingPath + [key], "is missing")
            case .dataCorrupted(let context): (context.codingPath, "is no valid JSON or has an unknown value")
            @unknown default: ([], "cannot be understood")
            }
        let place = keys.map(\.stringValue).joined(separator: ".")
        return place.isEmpty ? "the content \(problem)" : "key \(place) \(problem)"
    }

    // MARK: - The folder

    private static func makeFolder(_ path: String) throws {
        guard !path.isEmpty else { throw Failure(.usage, "the path of the run folder is empty") }
        var prefix = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            prefix += part + "/"
            guard mkdir(prefix, 0o777) == 0 || errno == EEXIST else {
                throw Failure.system("cannot make the folder", path)
            }
        }
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure(
                .unavailable, "cannot make the folder \(path): there is a file of that name; choose another path")
        }
    }

    /// Takes the lock that the system drops when the process ends, however it ends, and writes into the file whose it
    /// is.
    private static func lockFolder(_ path: String) throws -> Int32 {
        let file = path + "/.lock"
        // A link in a folder from elsewhere must not lead the writing to another file.
        let lock = open(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o666)
        guard lock >= 0 else { throw Failure.system("cannot write", file) }
        do {
            guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
                guard errno == EWOULDBLOCK else { throw Failure.system("cannot lock", file) }
                let holder = holder(lock)
                throw Failure(
                    .unavailable, "run folder \(path) is in use by \(holder); wait for its end or choose another folder"
                )
            }
            let text = "process \(getpid()) on \(ProcessInfo.processInfo.hostName)"
            guard ftruncate(lock, 0) == 0, pwrite(lock, text, text.utf8.count, 0) == text.utf8.count else {
                throw Failure.system("cannot write", file)
            }
        } catch {
            close(lock)
            throw error
        }
        return lock
    }

    /// Gives the lock up at once, even while a child process that is just starting still has a copy of the descriptor.
    private static func unlock(_ lock: Int32) {
        flock(lock, LOCK_UN)
        close(lock)
    }

    private static func holder(_ lock: Int32) -> String {
        var text = [UInt8](repeating: 0, count: 300)
        let count = pread(lock, &text, text.count, 0)
        return count > 0 ? String(decoding: text[..<count], as: UTF8.self) : "another process"
    }

    /// Removes what `AtomicFile` could not when an earlier process was killed. Under the lock nobody else is writing.
    private static func removeTemporaries(in folder: String) throws {
        for name in try names(inFolder: folder) {
            guard let mark = name.firstRange(of: ".tmp-"), UInt32(name[mark.upperBound...]) != nil else { continue }
            unlink(folder + "/" + name)
        }
    }
}
