import Glibc
import Support

/// A rank's heartbeat: one line of fixed length in a file of its own.
struct Heartbeat: Equatable {
    var host: String
    var process: pid_t
    /// A counter that increases as long as the process runs.
    var beat: Int
    /// The number of signals that asked the rank to stop. When a rank dies, mpirun sends one to the others.
    var stopSignals: Int
    var progress: RankProgress

    /// The numbers, the host and the activity, which may contain spaces; padded, so that a line replaces the previous
    /// one.
    var line: String {
        let numbers = [
            Int(process), beat, stopSignals, progress.startedCalls, progress.finishedCalls, progress.step,
            progress.index, progress.count, progress.mayTakeLong ? 1 : 0,
        ]
        let text = numbers.map(String.init).joined(separator: " ") + " \(host) \(progress.activity)"
        return text + String(repeating: " ", count: max(Self.lineLength - 1 - text.utf8.count, 0)) + "\n"
    }

    /// Parses `line`; nil for anything else.
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

    /// The length of a line in bytes, including the newline.
    static let lineLength = 400
    private static let numberCount = 9
}

/// The folder of the ranks' heartbeats: a file `rank-N` per running rank, and `report` once a rank reports why the job
/// ends.
///
/// Ranks on the same host always see each other's files; those on other hosts do if the file system is shared. A rank
/// that ends cleanly removes its file. Errors are ignored: messages then have less detail.
struct HeartbeatFolder: Sendable {
    let path: String

    private static let rankPrefix = "rank-"
    private static let reportName = "report"
    private func file(ofRank rank: Int) -> String { "\(path)/\(Self.rankPrefix)\(rank)" }
    private var reportFile: String { "\(path)/\(Self.reportName)" }

    // MARK: Heartbeats

    /// Opens and closes the file each time: network file systems publish what was written on close.
    func write(_ heartbeat: Heartbeat, ofRank rank: Int) { Self.write(heartbeat.line, to: file(ofRank: rank)) }

    /// A rank's latest heartbeat; nil if there is none or it cannot be read.
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

    /// Removes the files that an ended job left behind.
    func clear() {
        for name in fileNames where name.hasPrefix(Self.rankPrefix) || name.hasPrefix(Self.reportName) {
            unlink("\(path)/\(name)")
        }
        rmdir(path)
    }

    private var fileNames: [String] { (try? FileSystem.names(inFolder: path)) ?? [] }

    // MARK: The report

    /// Claims the report for this process: true for the first caller, false for all others, nil if the folder cannot be
    /// used.
    ///
    /// The file gets its name after it is written, so that the report is complete even if its rank dies meanwhile.
    func claimReport(_ text: String, by rank: Int) -> Bool? {
        let draft = "\(reportFile)-\(rank)"
        unlink(draft)
        guard Self.write(text, to: draft, O_EXCL) else { return nil }
        defer { unlink(draft) }
        if link(draft, reportFile) == 0 { return true }
        return errno == EEXIST ? false : nil
    }

    /// The claimed report, empty once it has been shown to the user; nil if no rank has claimed it.
    ///
    /// Opens the file rather than checking that it exists, which network file systems answer from a cache.
    var report: String? { Self.read(reportFile, atMost: Self.reportLength) }

    /// Records that the report has been shown to the user.
    func markReportShown() { Self.write("", to: reportFile, O_TRUNC) }

    /// The maximum number of bytes read of a report.
    private static let reportLength = 1 << 16

    // MARK: Files

    /// Does not follow links: the folder may come from someone else.
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

/// Repeats a system call while it is interrupted by signals.
private func retryingOnInterrupt<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        guard result < 0, errno == EINTR else { return result }
    }
}
