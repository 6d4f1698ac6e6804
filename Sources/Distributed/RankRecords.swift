import Glibc
import Kernels

/// What a rank says of itself to whoever may ask: one line of text in a file of its own.
struct RankRecord: Equatable {
    var host: String
    var process: pid_t
    /// Grows as long as the process runs.
    var beat: Int
    /// Signals that have asked the rank to stop. mpirun sends one to the ranks that are left when one has died.
    var signals: Int
    var stage: Stage

    /// The numbers, the host and, last, the stage's name, which has blanks. All lines have one length, so that
    /// writing replaces a line.
    var line: String {
        let numbers = [
            Int(process), beat, signals, stage.begun, stage.finished, stage.step, stage.index, stage.count,
            stage.mayTakeLong ? 1 : 0,
        ]
        let text = numbers.map(String.init).joined(separator: " ") + " \(host) \(stage.name)"
        return text + String(repeating: " ", count: max(Self.lineLength - 1 - text.utf8.count, 0)) + "\n"
    }

    /// Nil for anything that `line` has not written.
    init?(line: some StringProtocol) {
        let words = line.split(separator: " ", maxSplits: 10)
        let numbers = words.prefix(9).compactMap { Int($0) }
        guard words.count == 11, numbers.count == 9, let process = pid_t(exactly: numbers[0]), line.hasSuffix("\n") else {
            return nil
        }
        (self.process, beat, signals, host) = (process, numbers[1], numbers[2], String(words[9]))
        var name = words[10]
        while let last = name.last, last.isWhitespace { name.removeLast() }
        stage = Stage(
            begun: numbers[3], finished: numbers[4], step: numbers[5], name: String(name), index: numbers[6], count: numbers[7],
            mayTakeLong: numbers[8] != 0)
    }

    init(host: String, process: pid_t, beat: Int, signals: Int, stage: Stage) {
        (self.host, self.process, self.beat, self.signals, self.stage) = (host, process, beat, signals, stage)
    }

    static let lineLength = 400
}

/// The folder `RUN/ranks`: a file for each rank that is at work, and `report` once somebody has told the user why the job ends.
///
/// The ranks of one host see each other's files in any case, those of others where the file system is shared. A rank that leaves in
/// good order removes its file. What cannot be written or read is left out; it only makes a message shorter.
struct RankRecords: Sendable {
    let folder: String

    private func file(_ rank: Int) -> String { "\(folder)/rank-\(rank)" }
    private var report: String { folder + "/report" }

    /// Opened and closed each time: network file systems show others what was written when the file is closed.
    func write(_ record: RankRecord, of rank: Int) {
        let descriptor = open(file(rank), O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { return }
        var line = record.line
        line.withUTF8 { _ = pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        close(descriptor)
    }

    func read(_ rank: Int) -> RankRecord? {
        let descriptor = open(file(rank), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: RankRecord.lineLength)
        let length = Glibc.read(descriptor, &bytes, bytes.count)
        return length > 0 ? RankRecord(line: String(decoding: bytes[..<length], as: UTF8.self)) : nil
    }

    func remove(_ rank: Int) {
        unlink(file(rank))
        rmdir(folder) // Succeeds for the last rank that leaves.
    }

    /// Whether this process is the one that tells the user; of several that ask, one is.
    ///
    /// Where the folder is not to be seen at all the answer is nil.
    func claimReport() -> Bool? {
        let descriptor = open(report, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { return errno == EEXIST ? false : nil }
        close(descriptor)
        return true
    }

    var isReported: Bool { access(report, F_OK) == 0 }

    /// The ranks that have a file, ascending.
    var ranks: [Int] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var found: [Int] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasPrefix("rank-"), let rank = Int(name.dropFirst(5)), rank >= 0 { found.append(rank) }
        }
        return found.sorted()
    }
}

/// What the ranks of a job that has ended have left behind.
public enum LastWords {
    /// Removes the folder of a job that did not end well.
    public static func clear(_ folder: String) {
        let records = RankRecords(folder: folder)
        unlink(folder + "/report")
        for rank in records.ranks { records.remove(rank) }
        rmdir(folder)
    }

    /// The ranks that died by themselves, each as `rank 1 on node7 died, last seen at step 12 (loss)`: mpirun has asked all the
    /// others to stop before it killed them. Empty where a rank has told it already, or nobody can know.
    ///
    /// - Parameter forWantOfMemory: whether the kernel has ended a process meanwhile.
    public static func deaths(in folder: String, forWantOfMemory: Bool = false) -> [String] {
        let records = RankRecords(folder: folder)
        guard !records.isReported else { return [] }
        let found = records.ranks.compactMap { rank in records.read(rank).map { (rank, $0) } }
        guard found.contains(where: { $0.1.signals > 0 }) else { return [] }
        return found.filter { $0.1.signals == 0 }.map {
            "rank \($0) on \($1.host) died, last seen at \($1.stage.words)\(forWantOfMemory ? MemoryKills.words : "")"
        }
    }
}
