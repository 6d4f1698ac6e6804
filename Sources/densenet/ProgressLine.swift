import Glibc
import Support
import Synchronization
import SystemPackage

/// Shows how far an epoch is: on a terminal a line that is redrawn, in the form of Python's tqdm and cut to the width;
/// elsewhere lines of their own, at intervals.
///
///     [Training 3/300] loss: 1.5326, accuracy: 0.4452: 100%|██████████| 782/782 [00:56<00:00, 13.84it/s], run 2 d 4 h
///     [Training] epoch 3/300:  40% 313/782, loss: 1.5326, accuracy: 0.4452 [05:04<07:36], run 2 d 4 h
///
/// In brackets are the time of the epoch so far and what is left of it, at the end what is left of the run.
struct ProgressLine {
    /// When there are plain lines.
    enum Pace {
        /// After each tenth of the epoch, at least ten seconds after the last one, and each five minutes; as long as
        /// the budget has room for them.
        case tenths(LogBudget, ClosedRange<Double> = 10...300)
        /// After each step whose number is a multiple, with so many steps before those of this line.
        case steps(Int, before: Int = 0)

        /// As `tenths`, with a budget of its own.
        static var tenths: Pace { .tenths(LogBudget()) }
    }

    /// What is shown of the run that an epoch is one of.
    struct Place {
        let epoch, epochs: Int
    }

    private let phase: String
    private let place: Place?
    private let total: Int
    /// Steps that were done when the clock began.
    private let first: Int
    private let descriptor: Int32
    private let terminal: Terminal?
    private let pace: Pace
    private let start: Double
    private var drawn = -Double.infinity
    private var tenths = 0
    private var latest: State?

    /// What a line shows beside its clock.
    struct State {
        /// Steps finished so far.
        var done: Int
        /// Means over the epoch so far.
        var loss, accuracy: Double
        /// Seconds to the end of the run, if known.
        var runSeconds: Double?
    }

    /// Draws nothing yet.
    ///
    /// - Parameters:
    ///   - phase: stands in the brackets, for example `Training`.
    ///   - total: steps of the epoch.
    ///   - first: steps of it that were done at `start`.
    ///   - start: when the step after those began, by the monotonic clock.
    init(
        phase: String, place: Place? = nil, total: Int, first: Int = 0, start: Double = monotonicSeconds(),
        descriptor: Int32 = STDERR_FILENO, pace: Pace
    ) {
        self.phase = phase
        self.place = place
        self.total = total
        self.first = first
        self.start = start
        self.descriptor = descriptor
        self.pace = pace
        terminal = Terminal(descriptor)
        if terminal == nil { drawn = start }
        tenths = first * 10 / max(total, 1)
    }

    /// Takes note of a finished step and redraws the line, at most ten times a second.
    mutating func update(done: Int, loss: Double, accuracy: Double, runSeconds: Double? = nil) {
        latest = State(done: done, loss: loss, accuracy: accuracy, runSeconds: runSeconds)
        let since = monotonicSeconds() - drawn
        if let terminal {
            if since >= 0.1 { draw(on: terminal, end: "") }
            return
        }
        switch pace {
        case .steps(let interval, let before):
            if (before + done) % interval == 0 { writeLine(within: nil) }
        case .tenths(let budget, let seconds):
            let isNext = done * 10 / max(total, 1) > tenths
            if since >= seconds.upperBound || since >= seconds.lowerBound && isNext { writeLine(within: budget) }
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
            phase: phase, latest, place: place, total: total, first: first, seconds: drawn - start, columns: columns,
            ascii: !Terminal.showsUnicode)
        let before = Self.standing.withLock { standing in
            defer { standing = end.isEmpty ? text.count : 0 }
            return standing
        }
        write("\r" + text + String(repeating: " ", count: max(0, min(before, columns) - text.count)) + end)
    }

    /// The columns of the line that a terminal shows and that is not ended.
    private static let standing = Mutex(0)

    /// What erases that line, for others that are written in its place; it is redrawn behind them.
    static func takeErasure() -> String {
        let columns = standing.withLock { standing in
            defer { standing = 0 }
            return standing
        }
        return columns > 0 ? "\r" + String(repeating: " ", count: columns) + "\r" : ""
    }

    private mutating func writeLine(within budget: LogBudget?) {
        guard let latest else { return }
        drawn = monotonicSeconds()
        tenths = latest.done * 10 / max(total, 1)
        let text = Self.plainText(
            phase: phase, latest, place: place, total: total, first: first, seconds: drawn - start)
        if budget?.allows(text, isProgress: true) != false { write(text + "\n") }
    }

    /// A terminal that is gone is no reason to stop a run.
    private func write(_ line: String) {
        _ = try? FileDescriptor(rawValue: descriptor).writeAll(line.utf8)
    }

    // MARK: - Text

    /// The line as tqdm 4 formats it (`tqdm.format_meter` with the mean rate), the bar ten characters wide, and what is
    /// known of the run; what does not fit loses speed, steps, bar and words, in this order, and is cut in the end.
    ///
    /// - Parameters:
    ///   - first: steps that were done at the start.
    ///   - seconds: since the start.
    static func text(
        phase: String, _ state: State, place: Place? = nil, total: Int, first: Int = 0, seconds: Double,
        columns: Int = .max, ascii: Bool = false
    ) -> String {
        let fraction = fraction(state.done, total)
        let (loss, accuracy) = (state.loss.formatted(places: 4), state.accuracy.formatted(places: 4))
        let percent = (fraction * 100).formatted(places: 0, width: 3) + "%"
        let bar = "\(percent)|\(bar(fraction, ascii: ascii))|"
        let steps = "\(state.done)/\(total)"
        let left = remaining(state.done, total, first, seconds)
        let times = "\(interval(seconds))<\(left)"
        let speed = speed(seconds > 0 ? Double(state.done - first) / seconds : 0)
        let tag = "[\(phase)\(place.map { " \($0.epoch)/\($0.epochs)" } ?? "")]"
        let run = run(state)
        let forms = [
            "\(tag) loss: \(loss), accuracy: \(accuracy): \(bar) \(steps) [\(times), \(speed)]\(run)",
            "\(tag) loss \(loss), acc \(accuracy): \(bar) \(steps) [\(times)]\(run)",
            "\(tag) loss \(loss), acc \(accuracy): \(bar) [<\(left)]\(run)",
            "\(tag) loss \(loss), acc \(accuracy): \(percent) [<\(left)]\(run)",
            "\(tag) \(percent), loss \(loss) [<\(left)]\(run)",
            "[\(phase)] \(percent), loss \(loss)\(run)",
            "\(percent), loss \(loss)\(run)",
        ]
        return forms.first { $0.count <= columns } ?? String(forms[forms.count - 1].prefix(columns))
    }

    static func plainText(
        phase: String, _ state: State, place: Place?, total: Int, first: Int, seconds: Double
    ) -> String {
        let percent = (fraction(state.done, total) * 100).formatted(places: 0, width: 3)
        return
            "[\(phase)] \(place.map { "epoch \($0.epoch)/\($0.epochs): " } ?? "")\(percent)% \(state.done)/\(total), "
            + "loss: \(state.loss.formatted(places: 4)), accuracy: \(state.accuracy.formatted(places: 4)) "
            + "[\(interval(seconds))<\(remaining(state.done, total, first, seconds))]\(run(state))"
    }

    private static func fraction(_ done: Int, _ total: Int) -> Double {
        total > 0 ? Double(min(done, total)) / Double(total) : 1
    }

    private static func run(_ state: State) -> String { state.runSeconds.map { ", run \(duration($0))" } ?? "" }

    private static func remaining(_ done: Int, _ total: Int, _ first: Int, _ seconds: Double) -> String {
        seconds > 0 && done > first ? interval(Double(total - done) * seconds / Double(done - first)) : "?"
    }

    private static func speed(_ rate: Double) -> String {
        switch rate {
        case 0: "?it/s"
        case ..<1: (1 / rate).formatted(places: 2, width: 5) + "s/it"
        default: rate.formatted(places: 2, width: 5) + "it/s"
        }
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
        func two(_ number: Int) -> String { "\(number)".paddedWithZeros(to: 2) }
        let minutesSeconds = "\(two(whole / 60 % 60)):\(two(whole % 60))"
        return whole < 3600 ? minutesSeconds : "\(whole / 3600):\(minutesSeconds)"
    }
}
