import Glibc
import Support
import SystemPackage

/// Shows how far an epoch is: on a terminal a line that is redrawn, in the form of Python's tqdm and cut to the width;
/// elsewhere a line of its own for each tenth of the epoch, but none before ten seconds have passed since the last, and
/// one at least each minute.
///
///     [Training] loss: 1.5326, accuracy: 0.4452: 100%|██████████| 782/782 [00:56<00:00, 13.84it/s]
///     [Training] epoch 3:  40% 313/782, loss: 1.5326, accuracy: 0.4452 [05:04<07:36]
struct ProgressLine {
    private let phase: String
    private let epoch: Int?
    private let total: Int
    private let descriptor: Int32
    private let terminal: Terminal?
    /// Seconds between plain lines, at least and at most.
    private let pace: ClosedRange<Double>
    private let start = monotonicSeconds()
    private var drawn = -Double.infinity
    private var width = 0
    private var tenths = 0
    private var latest: (done: Int, loss: Double, accuracy: Double)?

    /// Starts the clock; draws nothing yet.
    ///
    /// - Parameters:
    ///   - phase: stands in the brackets, for example `Training`.
    ///   - epoch: for the plain lines, if any.
    ///   - total: steps of the epoch.
    init(phase: String, epoch: Int? = nil, total: Int) {
        self.init(phase: phase, epoch: epoch, total: total, descriptor: STDERR_FILENO)
    }

    init(phase: String, epoch: Int?, total: Int, descriptor: Int32, pace: ClosedRange<Double> = 10...60) {
        self.phase = phase
        self.epoch = epoch
        self.total = total
        self.descriptor = descriptor
        self.pace = pace
        terminal = Terminal(descriptor)
        if terminal == nil { drawn = start }
    }

    /// Takes note of a finished step and redraws the line, at most ten times a second.
    ///
    /// - Parameters:
    ///   - done: steps finished so far.
    ///   - loss: and `accuracy`: means over the epoch so far.
    mutating func update(done: Int, loss: Double, accuracy: Double) {
        latest = (done, loss, accuracy)
        let since = monotonicSeconds() - drawn
        if let terminal {
            if since >= 0.1 { draw(on: terminal, end: "") }
        } else if since >= pace.upperBound || since >= pace.lowerBound && done * 10 / max(total, 1) > tenths {
            writeLine()
        }
    }

    /// Draws the last state and ends the line. Nothing when no step was ever finished.
    mutating func finish() {
        if latest != nil, let terminal { draw(on: terminal, end: "\n") }
    }

    private mutating func draw(on terminal: Terminal, end: String) {
        guard let latest else { return }
        drawn = monotonicSeconds()
        // A line that wraps cannot be redrawn in place.
        let columns = terminal.columns
        let text = Self.text(
            phase: phase, loss: latest.loss, accuracy: latest.accuracy, done: latest.done, total: total,
            seconds: drawn - start, columns: columns, ascii: !Terminal.showsUnicode)
        write("\r" + text + String(repeating: " ", count: max(0, min(width, columns) - text.count)) + end)
        width = text.count
    }

    private mutating func writeLine() {
        guard let latest else { return }
        drawn = monotonicSeconds()
        tenths = latest.done * 10 / max(total, 1)
        write(
            Self.plainText(
                phase: phase, epoch: epoch, loss: latest.loss, accuracy: latest.accuracy, done: latest.done,
                total: total, seconds: drawn - start) + "\n")
    }

    /// A terminal that is gone is no reason to stop a run.
    private func write(_ line: String) {
        _ = try? FileDescriptor(rawValue: descriptor).writeAll(line.utf8)
    }

    // MARK: - Text

    /// The line as tqdm 4 formats it (`tqdm.format_meter` with the mean rate), the bar ten characters wide; what does
    /// not fit loses speed, bar and words, in this order, and is cut in the end.
    ///
    /// - Parameter seconds: since the first step began.
    static func text(
        phase: String, loss: Double, accuracy: Double, done: Int, total: Int, seconds: Double, columns: Int = .max,
        ascii: Bool = false
    ) -> String {
        let fraction = fraction(done, total)
        let rate = seconds > 0 ? Double(done) / seconds : 0
        let speed =
            switch rate {
            case 0: "?it/s"
            case ..<1: (1 / rate).formatted(places: 2, width: 5) + "s/it"
            default: rate.formatted(places: 2, width: 5) + "it/s"
            }
        let (loss, accuracy) = (loss.formatted(places: 4), accuracy.formatted(places: 4))
        let percent = (fraction * 100).formatted(places: 0, width: 3) + "%"
        let bar = bar(fraction, ascii: ascii)
        let left = remaining(done, total, seconds)
        let times = "\(interval(seconds))<\(left)"
        let forms = [
            "[\(phase)] loss: \(loss), accuracy: \(accuracy): \(percent)|\(bar)| \(done)/\(total) [\(times), \(speed)]",
            "[\(phase)] loss \(loss), acc \(accuracy): \(percent)|\(bar)| \(done)/\(total) [\(times)]",
            "[\(phase)] loss \(loss), acc \(accuracy): \(percent) \(done)/\(total) [\(times)]",
            "[\(phase)] \(percent), loss \(loss) [<\(left)]",
        ]
        return forms.first { $0.count <= columns } ?? String(forms[forms.count - 1].prefix(columns))
    }

    static func plainText(
        phase: String, epoch: Int?, loss: Double, accuracy: Double, done: Int, total: Int, seconds: Double
    ) -> String {
        let percent = (fraction(done, total) * 100).formatted(places: 0, width: 3)
        return
            "[\(phase)] \(epoch.map { "epoch \($0): " } ?? "")\(percent)% \(done)/\(total), loss: \(loss.formatted(places: 4)), "
            + "accuracy: \(accuracy.formatted(places: 4)) [\(interval(seconds))<\(remaining(done, total, seconds))]"
    }

    private static func fraction(_ done: Int, _ total: Int) -> Double {
        total > 0 ? Double(min(done, total)) / Double(total) : 1
    }

    private static func remaining(_ done: Int, _ total: Int, _ seconds: Double) -> String {
        seconds > 0 && done > 0 ? interval(Double(total - done) * seconds / Double(done)) : "?"
    }

    /// Ten characters, filled to an eighth, or in ASCII to a tenth, of a character.
    static func bar(_ fraction: Double, ascii: Bool) -> String {
        let parts =
            ascii ? ["", "1", "2", "3", "4", "5", "6", "7", "8", "9"] : ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        let filled = Int(fraction * 10 * Double(parts.count))
        let bar = String(repeating: ascii ? "#" : "█", count: filled / parts.count) + parts[filled % parts.count]
        return bar + String(repeating: " ", count: 10 - bar.count)
    }

    /// `MM:SS`, or `H:MM:SS` from an hour on.
    static func interval(_ seconds: Double) -> String {
        // Estimates from a first step that never seems to end are cut at some thousand years.
        let whole = seconds > 0 ? Int(min(seconds, 1e11)) : 0
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let minutesSeconds = "\(two(whole / 60 % 60)):\(two(whole % 60))"
        return whole < 3600 ? minutesSeconds : "\(whole / 3600):\(minutesSeconds)"
    }
}
