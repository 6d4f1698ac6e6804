import DataParallel
import FoundationEssentials
import Glibc
import Support

/// The folder of one training run, held under a lock as long as the object lives. Rank zero alone has one.
///
///     RUN/config.json            all options as resolved
///     RUN/metrics.jsonl          a line an epoch
///     RUN/events/                the same and more for TensorBoard; see `EventRecorder`
///     RUN/checkpoints/           see `CheckpointFolder`
///     RUN/best.safetensors       the weights, or their average where there is one, of the best epoch
///     RUN/ema.safetensors        the average of the weights, where the run has one
///     RUN/weights.safetensors    the result
///     RUN/ranks/                 each rank's heartbeat while the run is active; see `Watchdog`
///     RUN/.lock                  who is at work here
package final class RunFolder: Sendable {
    package let path: String
    package var configuration: String { path + "/config.json" }
    package var metrics: String { path + "/metrics.jsonl" }
    package var checkpoints: String { Self.checkpoints(of: path) }
    package var best: String { path + "/best.safetensors" }
    package var averages: String { Self.averages(of: path) }
    package var ranks: String { Self.ranks(of: path) }
    package var weights: String { Self.weights(of: path) }
    private let lock: FileLock

    /// Makes the folder (and its parents) for a new run, or opens that of a run to be resumed, and locks it.
    ///
    /// - Throws: `Failure(.unavailable)` when the folder cannot be made or written, or another process works in it;
    ///   `Failure(.usage)` when a new run is wanted where one is already; `Failure(.noInput)` when there is none to
    ///   resume.
    package init(path: String, resuming: Bool) throws {
        let configuration = path + "/config.json"
        if resuming, let problem = PathKind(of: configuration).problem {
            throw Failure(.noInput, "\(path) holds no run to resume: \(problem)")
        }
        guard !path.isEmpty else { throw Failure(.usage, "the path of the run folder is empty") }
        try FileSystem.makeFolderAndParents(path)
        do {
            lock = try FileLock(
                path: path + "/.lock", owner: "process \(getpid()) on \(ProcessInfo.processInfo.hostName)")
        } catch let lock as FileLock.AlreadyLocked {
            throw Failure(
                .unavailable, "run folder \(path) is in use by \(lock.owner); wait for its end or choose another folder"
            )
        }
        self.path = path
        guard resuming || PathKind(of: configuration).problem != nil else {
            throw Failure(
                .usage, "\(path) already holds a run; resume with: `resuming` \(path), or choose another folder")
        }
        try FileSystem.makeFolderAndParents(checkpoints)
        PostMortem.clear(ranks)
        try Self.removeTemporaries(in: path)
        try Self.removeTemporaries(in: checkpoints)
    }

    /// The folder that a run folder lies in, or will: that of `makeNew` where there is no path yet.
    static func parent(of path: String?) -> String {
        guard let path else { return "runs" }
        let absolute = absolutePath(path)
        return absolute.lastIndex(of: "/").map { String(absolute[..<$0]) } ?? "."
    }

    /// Makes a folder for a new run below another, named after the time and the model; of several runs that want the
    /// same name the others get `NAME-2`, `NAME-3`, ….
    ///
    /// - Returns: its path.
    /// - Throws: `Failure(.unavailable)` when it cannot be made.
    package static func makeNew(below parent: String, model: String) throws -> String {
        try FileSystem.makeFolderAndParents(parent)
        // As 2026-01-31-235959.
        let name = "\(parent)/\(dateAndTime("%Y-%m-%d-%H%M%S"))-\(model)"
        var (path, count) = (name, 1)
        while try !FileSystem.makeFolder(path) {
            count += 1
            path = "\(name)-\(count)"
        }
        return path
    }

    /// Where the ranks of the run in a folder write their heartbeats; ranks other than zero need it as well.
    package static func ranks(of path: String) -> String { path + "/ranks" }

    /// Where the run in a folder has its checkpoints.
    static func checkpoints(of path: String) -> String { path + "/checkpoints" }

    /// Where the run in a folder has the average of its weights, if it has one.
    package static func averages(of path: String) -> String { path + "/ema.safetensors" }

    /// Where the run in a folder has its result.
    static func weights(of path: String) -> String { path + "/weights.safetensors" }

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
        try AtomicFile.write(text, to: configuration)
    }

    /// Reads config.json.
    ///
    /// - Throws: as `readConfiguration(at:as:)`.
    package func readConfiguration<Value: Decodable>(as type: Value.Type = Value.self) throws -> Value {
        try Self.readConfiguration(at: configuration, as: type)
    }

    /// Reads a file such as config.json.
    ///
    /// - Throws: `Failure(.noInput)` when it cannot be read, `Failure(.data)` naming the key that is missing or wrong.
    static func readConfiguration<Value: Decodable>(
        at path: String, as type: Value.Type = Value.self
    ) throws -> Value {
        let text = Data(try InputFile.contents(of: path, atMost: 1 << 20))
        do { return try JSONDecoder().decode(type, from: text) } catch let error as DecodingError {
            throw Failure(.data, "\(path): \(oneLine(error))")
        } catch let failure as Failure {
            throw Failure(.data, "\(path): \(failure.message)")
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

    /// Removes what `AtomicFile` could not when an earlier process was killed. Under the lock nobody else is writing.
    private static func removeTemporaries(in folder: String) throws {
        for name in try FileSystem.names(inFolder: folder) {
            guard let mark = name.firstRange(of: ".tmp-"), UInt32(name[mark.upperBound...]) != nil else { continue }
            FileSystem.remove(folder + "/" + name)
        }
    }
}
