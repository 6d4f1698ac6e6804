/// How often a rank uses the heartbeat folder: the rarer the more ranks there are, so that a shared file system has no
/// more to do for a thousand of them than for 64. Up to 64 ranks use it at each poll of the watchdog.
struct HeartbeatPace: Sendable, Equatable {
    /// From one heartbeat, and one look for a report, to the next.
    let pollsBetweenHeartbeats: Int
    /// Between two readings of all heartbeats. A rank whose heartbeat does not change meanwhile is not running: it
    /// should have written two.
    let pollsBetweenReadings: Int
    /// Seconds after which the peer thread counts as blocked: more than its two readings and the last turn take.
    let investigationLimit: Double

    /// The ranks that the folder bears at each poll.
    static let ranksAtEachPoll = 64
    /// For the duration of a poll, reports and turns, in the time that an investigation may take.
    private static let (pollSeconds, spareSeconds) = (0.25, 6.0)
    /// To read a heartbeat beyond those of `ranksAtEachPoll`.
    private static let fileSeconds = 0.01

    init(ranks: Int) {
        pollsBetweenHeartbeats = (max(ranks, 1) - 1) / Self.ranksAtEachPoll + 1
        pollsBetweenReadings = 8 + 2 * (pollsBetweenHeartbeats - 1)
        let longestDelay = pollsBetweenHeartbeats == 1 ? 0 : pollsBetweenReadings + Self.pollsToReport
        investigationLimit =
            Self.pollSeconds * Double(longestDelay + pollsBetweenReadings) + Self.spareSeconds
            + 2 * Self.fileSeconds * Double(max(0, ranks - Self.ranksAtEachPoll))
    }

    /// Whether a rank writes its heartbeat and looks for a report at a poll; the ranks take turns.
    func isDue(_ rank: Int, poll: Int) -> Bool { (poll + rank) % pollsBetweenHeartbeats == 0 }

    /// Polls from the timeout to a rank's first reading. Of many ranks that wait together a few read all heartbeats at
    /// once; the others follow only if none of these has reported.
    func pollsBeforeReading(_ rank: Int) -> Int {
        rank % pollsBetweenHeartbeats == 0 ? 0 : pollsBetweenReadings + Self.pollsToReport
    }

    private static let pollsToReport = 8
}
