import Glibc
import Kernels

/// The line that shows on a terminal how far an epoch is, in the form of Python's tqdm; silent where there is no terminal.
///
///     [Training] loss: 1.5326, accuracy: 0.4452: 100%|██████████| 782/782 [00:56<00:00, 13.84it/s]
public struct ProgressLine {
    private let phase: String
    private let total: Int
    private let descriptor: Int32
    private let isTerminal: Bool
    private let start = monotonicSeconds()
    private var drawn = -Double.infinity
    private var width = 0
    private var latest: (done: Int, loss: Double, accuracy: Double)?

    /// Starts the clock; draws nothing yet.
    ///
    /// - Parameters:
    ///   - phase: stands in the brackets, for example `Training`.
    ///   - total: steps of the epoch.
    ///   - descriptor: where to draw, standard error by default.
    public init(phase: String, total: Int, descriptor: Int32 = STDERR_FILENO) {
        self.phase = phase
        self.total = total
        self.descriptor = descriptor
        // mpirun gives its processes pipes; launch.sh, which sees the terminal, says so.
        isTerminal = isatty(descriptor) == 1 || getenv("DENSENET_TERMINAL").map { String(cString: $0) } == "1"
    }

    /// Takes note of a finished step and redraws the line, at most ten times a second.
    ///
    /// - Parameters:
    ///   - done: steps finished so far.
    ///   - loss: and `accuracy`: means over the epoch so far.
    public mutating func update(done: Int, loss: Double, accuracy: Double) {
        guard isTerminal else { return }
        latest = (done, loss, accuracy)
        if monotonicSeconds() - drawn >= 0.1 { draw(end: "") }
    }

    /// Draws the last state and ends the line. Nothing when no step was ever finished.
    public mutating func finish() {
        if latest != nil { draw(end: "\n") }
    }

    private mutating func draw(end: String) {
        guard let latest else { return }
        drawn = monotonicSeconds()
        var size = winsize()
        // A line that wraps cannot be redrawn in place. Some terminals give a width of 0 columns: unknown.
        let columns = ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : Int.max
        let text = Self.text(phase: phase, loss: latest.loss, accuracy: latest.accuracy, done: latest.done, total: total,
                             seconds: drawn - start).prefix(columns)
        var line = "\r" + text + String(repeating: " ", count: max(0, min(width, columns) - text.count)) + end
        width = text.count
        // A terminal that is gone is no reason to stop a run.
        line.withUTF8 { _ = write(descriptor, $0.baseAddress, $0.count) }
    }

    // MARK: - Text

    /// The line as tqdm 4 formats it (`tqdm.format_meter` with the mean rate), the bar ten characters wide.
    ///
    /// - Parameter seconds: since the first step began.
    static func text(phase: String, loss: Double, accuracy: Double, done: Int, total: Int, seconds: Double) -> String {
        let fraction = total > 0 ? Double(min(done, total)) / Double(total) : 1
        let rate = seconds > 0 ? Double(done) / seconds : 0
        let remaining = rate > 0 ? interval(Double(total - done) / rate) : "?"
        let speed = switch rate {
        case 0: "?it/s"
        case ..<1: (1 / rate).formatted(places: 2, width: 5) + "s/it"
        default: rate.formatted(places: 2, width: 5) + "it/s"
        }
        return "[\(phase)] loss: \(loss.formatted(places: 4)), accuracy: \(accuracy.formatted(places: 4)): \((fraction * 100).formatted(places: 0, width: 3))%"
            + "|\(bar(fraction))| \(done)/\(total) [\(interval(seconds))<\(remaining), \(speed)]"
    }

    /// Ten characters, filled to an eighth of a character.
    private static func bar(_ fraction: Double) -> String {
        let eighths = Int(fraction * 10 * 8)
        let full = String(repeating: "█", count: eighths / 8)
        guard eighths < 80 else { return full }
        return full + [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8] + String(repeating: " ", count: 9 - eighths / 8)
    }

    /// `MM:SS`, or `H:MM:SS` from an hour on.
    private static func interval(_ seconds: Double) -> String {
        // Estimates from a first step that never seems to end are cut at some thousand years.
        let whole = seconds > 0 ? Int(min(seconds, 1e11)) : 0
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let minutesSeconds = "\(two(whole / 60 % 60)):\(two(whole % 60))"
        return whole < 3600 ? minutesSeconds : "\(whole / 3600):\(minutesSeconds)"
    }
}
