import Support
import Synchronization

/// Keeps a log that nobody watches under 100 KB a day, however short the epochs: bytes may be written as they have
/// been saved up. A run of some hundred epochs says all it has to.
///
/// Lines of epochs may take all that is there; lines of progress, of which there are many more, leave most of it to
/// them.
final class LogBudget: Sendable {
    /// What is there at the start, and at most.
    private static let capacity = 60_000.0
    private static let perDay = 35_000.0
    /// What lines of progress leave.
    private static let reserve = 50_000.0

    private let saved: Mutex<(bytes: Double, time: Double)>

    init(now: Double = monotonicSeconds()) { saved = Mutex((Self.capacity, now)) }

    /// Takes the bytes of a line, and the line feed's, where they are there.
    ///
    /// - Returns: whether the line may be written.
    func allows(_ line: String, isProgress: Bool, now: Double = monotonicSeconds()) -> Bool {
        let count = Double(line.utf8.count + 1)
        return saved.withLock { saved in
            let grown = saved.bytes + (now - saved.time) * Self.perDay / 86_400
            saved = (min(grown, Self.capacity), now)
            guard saved.bytes >= count + (isProgress ? Self.reserve : 0) else { return false }
            saved.bytes -= count
            return true
        }
    }
}
