/// Which ranks have reached the collective call that this rank is waiting in, and where the others are.
struct StallReport {
    private struct MissingRank: CustomStringConvertible {
        let rank: Int
        let host: String
        let problem: String?
        /// From its heartbeat; nil if there is none.
        let progress: RankProgress?

        var description: String {
            let seen = progress.map { "last seen at \($0)" } ?? "without a heartbeat"
            return "rank \(rank) on \(host) (\(problem.map { "\($0), " } ?? "")\(seen))"
        }
    }

    private let rank: Int
    private let host: String
    private let progress: RankProgress
    private let arrived: [Int]
    private let missing: [MissingRank]
    /// Ranks without a heartbeat or a visible problem.
    private let unknown: [Int]

    /// - Parameters:
    ///   - rank: the waiting rank.
    ///   - progress: its progress.
    ///   - heartbeats: nil if there are none; then only problems of processes on this host are known.
    ///   - beatsBefore: each rank's beat some seconds ago. A rank whose beat has not changed since is not running.
    init(
        rank: Int, peers: [Peer], progress: RankProgress, heartbeats: HeartbeatFolder?, beatsBefore: [Int?]? = nil
    ) {
        self.rank = rank
        host = peers[rank].host
        self.progress = progress
        var arrived = [rank]
        var unknown: [Int] = []
        var late: [MissingRank] = []
        for (other, peer) in peers.enumerated() where other != rank {
            let heartbeat = heartbeats?.heartbeat(ofRank: other)
            var problem = peer.host == host ? peer.problem : nil
            if problem == nil, let heartbeat, let before = beatsBefore?[other], before == heartbeat.beat {
                problem = "it does not respond"
            }
            if let heartbeat, heartbeat.progress.startedCalls >= progress.startedCalls, problem == nil {
                arrived.append(other)
            } else if heartbeat == nil, problem == nil {
                unknown.append(other)
            } else {
                late.append(
                    MissingRank(rank: other, host: peer.host, problem: problem, progress: heartbeat?.progress))
            }
        }
        // Some late ranks may only be waiting for the others, in an earlier call.
        let causes = late.filter { $0.problem != nil || $0.progress?.isWaiting != true }
        missing = causes.isEmpty ? late : causes
        self.arrived = arrived.sorted()
        self.unknown = unknown
    }

    /// Whether all missing ranks are working on something that may take long.
    var mayTakeLong: Bool {
        !missing.isEmpty
            && missing.allSatisfy {
                $0.problem == nil && $0.progress?.mayTakeLong == true && $0.progress?.isWaiting == false
            }
    }

    /// The message to the user, in one line.
    ///
    /// - Parameters:
    ///   - waited: seconds that this rank has waited.
    ///   - advice: the end of the line.
    func message(waited: Int, advice: String) -> String {
        var parts = ["rank \(rank) on \(host) has waited \(waited) s at \(progress)"]
        parts.append("arrived: \(ranges(arrived))")
        if !missing.isEmpty {
            let shown = missing.prefix(Self.shownRanks)
            let more = missing.count > shown.count ? " and \(missing.count - shown.count) more" : ""
            parts.append("missing: " + shown.map(\.description).joined(separator: ", ") + more)
        } else if unknown.isEmpty {
            parts.append("missing: none, so the network between them may be broken")
        }
        if !unknown.isEmpty { parts.append("unknown: \(ranges(unknown))") }
        return (parts + [advice]).joined(separator: "; ")
    }

    /// The maximum number of missing ranks that a message describes.
    private static let shownRanks = 8
}

/// Ascending numbers in the form `0-3, 7`.
func ranges(_ numbers: [Int]) -> String {
    var runs: [ClosedRange<Int>] = []
    for number in numbers {
        if let last = runs.last, number == last.upperBound + 1 {
            runs[runs.count - 1] = last.lowerBound...number
        } else {
            runs.append(number...number)
        }
    }
    return runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ")
}
