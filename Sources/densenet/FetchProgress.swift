import Glibc
import Support
import SystemPackage

/// Shows how far a download is: on a terminal a line that is redrawn and cut to the width; elsewhere a line of its own
/// every ten seconds.
///
///     cifar-10-binary.tar.gz:  43%|████▎     | 73.1/170.1 MB [00:14<00:19, 5.2 MB/s]
final class FetchProgress {
    private let name: String
    private let terminal: Terminal?
    private let start = monotonicSeconds()
    private var drawn: Double
    private var width = 0
    /// What was there before, and what is there now.
    private var before: Int?
    private var latest: (done: Int, total: Int?)?

    init(name: String) {
        self.name = name
        terminal = Terminal(STDERR_FILENO)
        drawn = terminal == nil ? start : -.infinity
    }

    /// Takes note of bytes that have come.
    func update(done: Int, total: Int?) {
        // Less than before where the download has begun anew.
        before = min(before ?? done, done)
        latest = (done, total)
        let since = monotonicSeconds() - drawn
        if let terminal {
            if since >= 0.1 { draw(on: terminal, end: "") }
        } else if since >= 10 {
            drawn = monotonicSeconds()
            write(text(columns: .max, ascii: true) + "\n")
        }
    }

    /// Draws the last state and ends the line. Nothing when nothing was downloaded.
    func finish() {
        if latest != nil, let terminal { draw(on: terminal, end: "\n") }
    }

    private func draw(on terminal: Terminal, end: String) {
        drawn = monotonicSeconds()
        let columns = terminal.columns
        let text = text(columns: columns, ascii: !Terminal.showsUnicode)
        write("\r" + text + String(repeating: " ", count: max(0, min(width, columns) - text.count)) + end)
        width = text.count
    }

    /// A terminal that is gone is no reason to stop.
    private func write(_ line: String) { _ = try? FileDescriptor.standardError.writeAll(line.utf8) }

    private func text(columns: Int, ascii: Bool) -> String {
        guard let latest, let before else { return "" }
        return Self.text(
            name: name, done: latest.done, total: latest.total, new: latest.done - before,
            seconds: monotonicSeconds() - start, columns: columns, ascii: ascii)
    }

    /// What does not fit loses bar and speed, and is cut in the end.
    ///
    /// - Parameters:
    ///   - total: of the whole file, nil where it is not known.
    ///   - new: the bytes that have come in the last `seconds`.
    static func text(
        name: String, done: Int, total: Int?, new: Int, seconds: Double, columns: Int, ascii: Bool
    ) -> String {
        func megabytes(_ bytes: Double) -> String { (bytes / 1e6).formatted(places: 1) }
        let speed = megabytes(Double(new) / max(seconds, 1e-3)) + " MB/s"
        let time = ProgressLine.interval(seconds)
        guard let total else {
            let forms = ["\(name): \(megabytes(Double(done))) MB [\(time), \(speed)]"]
            return String(forms[0].prefix(columns))
        }
        let fraction = total > 0 ? Double(min(done, total)) / Double(total) : 1
        let percent = (fraction * 100).formatted(places: 0, width: 3) + "%"
        let amount = "\(megabytes(Double(done)))/\(megabytes(Double(total))) MB"
        let left =
            new > 0 && seconds > 0
            ? ProgressLine.interval(Double(max(total - done, 0)) * seconds / Double(new)) : "?"
        let forms = [
            "\(name): \(percent)|\(ProgressLine.bar(fraction, ascii: ascii))| \(amount) [\(time)<\(left), \(speed)]",
            "\(name): \(percent) \(amount) [\(time)<\(left)]",
            "\(percent) \(amount) [<\(left)]",
        ]
        return forms.first { $0.count <= columns } ?? String(forms[forms.count - 1].prefix(columns))
    }
}
