import Glibc
import Support

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
        guard words.count == 11, numbers.count == 9, let process = pid_t(exactly: numbers[0]), line.hasSuffix("\n")
        else {
            return nil
        }
        (self.process, beat, signals, host) = (process, numbers[1], numbers[2], String(words[9]))
        var name = words[10]
        while let last = name.last, last.isWhitespace { name.removeLast() }
        stage = Stage(
            begun: numbers[3], finished: numbers[4], step: numbers[5], name: String(name), index: numbers[6],
            count: numbers[7], mayTakeLong: numbers[8] != 0)
    }

    init(host: String, process: pid_t, beat: Int, signals: Int, stage: Stage) {
        (self.host, self.process, self.beat, self.signals, self.stage) = (host, process, beat, signals, stage)
    }

    static let lineLength = 400
}

/// The folder `RUN/ranks`: a file for each rank that is at work, and `report` once somebody tells the user why the job
/// ends.
///
/// The ranks of one host see each other's files in any case, those of others where the file system is shared. A rank
/// that leaves in good order removes its file. What cannot be written or read is left out; it only makes a message
/// shorter.
struct RankRecords: Sendable {
    let folder: String

    private func file(_ rank: Int) -> String { "\(folder)/rank-\(rank)" }
    private var report: String { folder + "/report" }

    /// Opened and closed each time: network file systems show others what was written when the file is closed.
    func write(_ record: RankRecord, of rank: Int) { Self.write(record.line, to: file(rank)) }

    func read(_ rank: Int) -> RankRecord? {
        Self.text(of: file(rank), atMost: RankRecord.lineLength).flatMap { RankRecord(line: $0) }
    }

    func remove(_ rank: Int) {
        unlink(file(rank))
        rmdir(folder)  // Succeeds for the last rank that leaves.
    }

    /// Whether this process, as rank `rank`, is the one whose words the user gets; of several that ask, one is.
    ///
    /// The report never is without its words, however its rank ends: they get their name once they are written.
    /// Where the folder is not to be seen at all the answer is nil.
    func claimReport(_ words: String, by rank: Int) -> Bool? {
        let draft = "\(report)-\(rank)"
        unlink(draft)
        guard Self.write(words, to: draft, O_EXCL) else { return nil }
        defer { unlink(draft) }
        if link(draft, report) == 0 { return true }
        return errno == EEXIST ? false : nil
    }

    /// The words that somebody has claimed the report with, empty once the user has them; nil if nobody has.
    ///
    /// Opened, not only looked for: network file systems would answer from memory.
    var reported: String? { Self.text(of: report, atMost: 1 << 16) }

    /// The user has the words of the report.
    func forgetWords() { Self.write("", to: report, O_TRUNC) }

    /// Removes what is left of a job that has ended.
    func clear() {
        for name in names where name.hasPrefix("rank-") || name.hasPrefix("report") { unlink("\(folder)/\(name)") }
        rmdir(folder)
    }

    /// The ranks that have a file, ascending.
    var ranks: [Int] {
        names.filter { $0.hasPrefix("rank-") }.compactMap { Int($0.dropFirst(5)) }.filter { $0 >= 0 }.sorted()
    }

    private var names: [String] { (try? FileSystem.names(inFolder: folder)) ?? [] }

    /// Links are not followed: in a folder from elsewhere one could lead to any other file.
    @discardableResult
    private static func write(_ text: String, to file: String, _ mode: Int32 = 0) -> Bool {
        let descriptor = open(file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | mode, 0o666)
        guard descriptor >= 0 else { return false }
        var text = text
        let isWhole = text.withUTF8 { pwrite(descriptor, $0.baseAddress, $0.count, 0) == $0.count }
        return close(descriptor) == 0 && isWhole
    }

    private static func text(of file: String, atMost limit: Int) -> String? {
        let descriptor = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: limit)
        let length = Glibc.read(descriptor, &bytes, limit)
        return length < 0 ? nil : String(decoding: bytes[..<length], as: UTF8.self)
    }
}

/// What the ranks of a job that has ended have left behind.
package enum LastWords {
    /// Removes the folder of a job that did not end well.
    package static func clear(_ folder: String) { RankRecords(folder: folder).clear() }

    /// What the user has not been told of the end of a job yet, and from now on has been.
    ///
    /// That is the report of a rank that has left it to us. Where nobody came to report anything, mpirun was quicker:
    /// it asks all ranks that are left to stop before it kills them, and those that it did not ask have died by
    /// themselves. Each is told as `rank 1 on node7 died, last seen at step 12 (loss)`.
    ///
    /// - Parameters:
    ///   - isKilled: mpirun says that a rank was ended by a signal.
    ///   - forWantOfMemory: whether the kernel has ended a process meanwhile.
    ///   - advice: how the user goes on; the end of messages.
    package static func take(
        from folder: String, isKilled: Bool, forWantOfMemory: Bool = false, advice: String
    ) -> [String] {
        let records = RankRecords(folder: folder)
        if let words = records.reported {
            records.forgetWords()
            return words.isEmpty ? [] : [words]
        }
        let found = records.ranks.compactMap { rank in records.read(rank).map { (rank, $0) } }
        guard isKilled, found.contains(where: { $0.1.signals > 0 }) else { return [] }
        _ = records.claimReport("", by: 0)
        let cause = forWantOfMemory ? MemoryKills.words : ""
        return found.filter { $0.1.signals == 0 }
            .map { "rank \($0) on \($1.host) died, last seen at \($1.stage.words)\(cause); \(advice)" }
    }
}
