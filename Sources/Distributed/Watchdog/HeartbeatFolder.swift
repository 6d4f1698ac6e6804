import Glibc
import Support

/// A rank's heartbeat: one line of fixed length in a file of its own.
struct Heartbeat: Equatable {
    var host: String
    var process: pid_t
    /// Grows as long as the process runs.
    var beat: Int
    /// Signals that have asked the rank to stop. mpirun sends one to the remaining ranks when one has died.
    var stopSignals: Int
    var progress: RankProgress

    /// The numbers, the host and, last, the activity, which may contain spaces; padded, so that writing a line replaces
    /// the one before.
    var line: String {
        let numbers = [
            Int(process), beat, stopSignals, progress.startedCalls, progress.finishedCalls, progress.step,
            progress.index, progress.count, progress.mayTakeLong ? 1 : 0,
        ]
        let text = numbers.map(String.init).joined(separator: " ") + " \(host) \(progress.activity)"
        return text + String(repeating: " ", count: max(Self.lineLength - 1 - text.utf8.count, 0)) + "\n"
    }

    /// Nil for anything that `line` has not written.
    init?(line: some StringProtocol) {
        let words = line.split(separator: " ", maxSplits: Self.numberCount + 1)
        let numbers = words.prefix(Self.numberCount).compactMap { Int($0) }
        guard words.count == Self.numberCount + 2, numbers.count == Self.numberCount,
            let process = pid_t(exactly: numbers[0]), line.hasSuffix("\n")
        else {
            return nil
        }
        self.process = process
        (beat, stopSignals, host) = (numbers[1], numbers[2], String(words[Self.numberCount]))
        var activity = words[Self.numberCount + 1]
        while let last = activity.last, last.isWhitespace { activity.removeLast() }
        progress = RankProgress(
            startedCalls: numbers[3], finishedCalls: numbers[4], step: numbers[5], activity: String(activity),
            index: numbers[6], count: numbers[7], mayTakeLong: numbers[8] != 0)
    }

    init(host: String, process: pid_t, beat: Int, stopSignals: Int, progress: RankProgress) {
        self.host = host
        self.process = process
        self.beat = beat
        self.stopSignals = stopSignals
        self.progress = progress
    }

    /// Bytes of a line, its end included.
    static let lineLength = 400
    private static let numberCount = 9
}

/// The folder of the ranks' heartbeats: a file `rank-N` per running rank, and `report` once a rank reports why the job
/// ends.
///
/// The ranks of one host always see each other's files, those of other hosts where the file system is shared. A rank
/// that ends in order removes its file. What cannot be written or read is left out; a message is then shorter.
struct HeartbeatFolder: Sendable {
    let path: String

    private static let rankPrefix = "rank-"
    private static let reportName = "report"
    private func file(ofRank rank: Int) -> String { "\(path)/\(Self.rankPrefix)\(rank)" }
    private var reportFile: String { "\(path)/\(Self.reportName)" }

    // MARK: Heartbeats

    /// Opens and closes the file each time: network file systems show others what was written when it is closed.
    func write(_ heartbeat: Heartbeat, ofRank rank: Int) { Self.write(heartbeat.line, to: file(ofRank: rank)) }

    /// The heartbeat that a rank has written last; nil if there is none, or it cannot be read.
    func heartbeat(ofRank rank: Int) -> Heartbeat? {
        Self.read(file(ofRank: rank), atMost: Heartbeat.lineLength).flatMap { Heartbeat(line: $0) }
    }

    /// Removes a rank's file, and the folder with the last one.
    func remove(rank: Int) {
        unlink(file(ofRank: rank))
        rmdir(path)
    }

    /// The ranks that have a file, ascending.
    var ranks: [Int] {
        fileNames.filter { $0.hasPrefix(Self.rankPrefix) }
            .compactMap { Int($0.dropFirst(Self.rankPrefix.count)) }.filter { $0 >= 0 }.sorted()
    }

    /// Removes what a job that has ended has left behind.
    func clear() {
        for name in fileNames where name.hasPrefix(Self.rankPrefix) || name.hasPrefix(Self.reportName) {
            unlink("\(path)/\(name)")
        }
        rmdir(path)
    }

    private var fileNames: [String] { (try? FileSystem.names(inFolder: path)) ?? [] }

    // MARK: The report

    /// Claims the report for this process: true for one of several that ask, false for the others, nil where the folder
    /// cannot be used.
    ///
    /// The report always has its text, even if its rank dies meanwhile: the file gets its name after it is written.
    func claimReport(_ text: String, by rank: Int) -> Bool? {
        let draft = "\(reportFile)-\(rank)"
        unlink(draft)
        guard Self.write(text, to: draft, O_EXCL) else { return nil }
        defer { unlink(draft) }
        if link(draft, reportFile) == 0 { return true }
        return errno == EEXIST ? false : nil
    }

    /// The text of the claimed report, empty once the user has seen it; nil if nobody has claimed it.
    ///
    /// Opens the file instead of asking for its status, which network file systems would answer from their cache.
    var report: String? { Self.read(reportFile, atMost: Self.reportLength) }

    /// The user has seen the report.
    func markReportShown() { Self.write("", to: reportFile, O_TRUNC) }

    /// Bytes of a report that are read.
    private static let reportLength = 1 << 16

    // MARK: Files

    /// Links are not followed: a folder that someone else has made could lead to any other file.
    @discardableResult
    private static func write(_ text: String, to file: String, _ flags: Int32 = 0) -> Bool {
        let descriptor = retryingOnInterrupt { open(file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, 0o666) }
        guard descriptor >= 0 else { return false }
        var text = text
        let isWhole = text.withUTF8 { bytes in
            retryingOnInterrupt { pwrite(descriptor, bytes.baseAddress, bytes.count, 0) } == bytes.count
        }
        return close(descriptor) == 0 && isWhole
    }

    private static func read(_ file: String, atMost limit: Int) -> String? {
        let descriptor = retryingOnInterrupt { open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) }
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: limit)
        let length = retryingOnInterrupt { pread(descriptor, &bytes, limit, 0) }
        return length < 0 ? nil : String(decoding: bytes[..<length], as: UTF8.self)
    }
}

/// Repeats a system call as long as a signal interrupts it.
private func retryingOnInterrupt<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        guard result < 0, errno == EINTR else { return result }
    }
}
