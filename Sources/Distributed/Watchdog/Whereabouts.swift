import Glibc

/// A rank as all others know it from the start.
struct Peer: Sendable {
    let host: String
    let process: pid_t

    /// Collective: all ranks, in their order. A host's name is cut after 64 bytes.
    static func all(of communicator: Communicator) throws -> [Peer] {
        var words = [UInt64](repeating: 0, count: 8)
        words.withUnsafeMutableBytes { $0.copyBytes(from: communicator.hostName.utf8.prefix($0.count)) }
        let processes = try communicator.allGather(UInt64(getpid()))
        let columns = try words.map { try communicator.allGather($0) }
        return processes.enumerated().map { rank, process in
            let bytes = columns.map { $0[rank] }.withUnsafeBytes { Array($0.prefix { $0 != 0 }) }
            return Peer(host: String(decoding: bytes, as: UTF8.self), process: pid_t(process))
        }
    }

    /// The rank on the same host that `rank` looks after: the next one, and the first after the last. Nil for the only
    /// one of its host.
    static func neighbour(of rank: Int, among peers: [Peer]) -> Int? {
        let local = peers.indices.filter { peers[$0].host == peers[rank].host }
        let next = local[(local.firstIndex(of: rank)! + 1) % local.count]
        return next == rank ? nil : next
    }

    /// For a process of this host.
    var isGone: Bool { kill(process, 0) != 0 && errno == ESRCH }

    /// What the system says of a process of this host, where that explains why it does not come.
    var trouble: String? {
        guard !isGone else { return "its process is gone" }
        let file = open("/proc/\(process)/stat", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 512)
        let text = String(decoding: bytes[..<max(read(file, &bytes, bytes.count), 0)], as: UTF8.self)
        // The state stands behind the program's name, which is in brackets.
        guard let bracket = text.lastIndex(of: ")") else { return nil }
        switch text[bracket...].dropFirst(2).first {
        case "T", "t": return "its process is stopped"
        case "D": return "its process waits for a disk"
        case "Z", "X": return "its process is gone"
        default: return nil
        }
    }
}

/// Which ranks have arrived at the collective call that this rank waits in, and where the others are.
struct Whereabouts {
    private struct Absence {
        let rank: Int
        let host: String
        var trouble: String?
        let stage: Stage?

        var words: String {
            let seen = stage.map { "last seen at \($0.words)" } ?? "nothing known of where it is"
            return "rank \(rank) on \(host) (\(trouble.map { "\($0), " } ?? "")\(seen))"
        }
    }

    private let rank: Int
    private let host: String
    private let stage: Stage
    private let arrived: [Int]
    private let absent: [Absence]
    /// Ranks of which there is no record, and no trouble to be seen.
    private let unknown: [Int]

    /// - Parameter beatsBefore: each rank's beat of some seconds ago. A rank whose record has not changed since does
    ///   not run.
    init(of watchdog: Watchdog, records: RankRecords?, beatsBefore: [Int?]? = nil) {
        rank = watchdog.rank
        host = watchdog.peers[rank].host
        stage = watchdog.stages.stage
        var arrived = [rank]
        var unknown: [Int] = []
        var late: [Absence] = []
        for (other, peer) in watchdog.peers.enumerated() where other != rank {
            let record = records?.read(other)
            var trouble = peer.host == host ? peer.trouble : nil
            if trouble == nil, let record, let before = beatsBefore?[other], before == record.beat {
                trouble = "it does not respond"
            }
            if let record, record.stage.begun >= stage.begun, trouble == nil {
                arrived.append(other)
            } else if record == nil, trouble == nil {
                unknown.append(other)
            } else {
                late.append(Absence(rank: other, host: peer.host, trouble: trouble, stage: record?.stage))
            }
        }
        // Of those who are late some only wait for the others, in an earlier call.
        let causes = late.filter { $0.trouble != nil || $0.stage?.isWaiting != true }
        absent = causes.isEmpty ? late : causes
        self.arrived = arrived.sorted()
        self.unknown = unknown
    }

    /// Whether the ranks that are missing are at work on what may take long.
    var mayTakeLong: Bool {
        !absent.isEmpty
            && absent.allSatisfy { $0.trouble == nil && $0.stage?.mayTakeLong == true && $0.stage?.isWaiting == false }
    }

    func message(waited: Int, advice: String) -> String {
        var parts = ["rank \(rank) on \(host) has waited \(waited) s at \(stage.words)"]
        parts.append("arrived: \(ranges(arrived))")
        if !absent.isEmpty {
            let more = absent.count > 8 ? " and \(absent.count - 8) more" : ""
            parts.append("missing: " + absent.prefix(8).map(\.words).joined(separator: ", ") + more)
        } else if unknown.isEmpty {
            parts.append("missing: none, so the network between them may be broken")
        }
        if !unknown.isEmpty { parts.append("unknown: \(ranges(unknown))") }
        return (parts + [advice]).joined(separator: "; ")
    }
}

/// Ascending numbers as `0-3, 7`.
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
