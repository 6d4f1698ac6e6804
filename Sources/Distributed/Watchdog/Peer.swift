import Glibc
import Support

/// A rank's host and process ID.
struct Peer: Sendable {
    let host: String
    let process: pid_t

    /// Collective: all ranks, in rank order.
    static func all(of communicator: Communicator) throws -> [Peer] {
        let processes = try communicator.allGather(getpid())
        let hosts = try communicator.allGather(bytes: Array(communicator.hostName.utf8))
        return zip(hosts, processes).map { Peer(host: String(decoding: $0, as: UTF8.self), process: $1) }
    }

    /// The rank that `rank` watches: the next one on the same host, cyclically. Nil for the only rank on its host.
    static func neighbour(of rank: Int, among peers: [Peer]) -> Int? {
        let local = peers.indices.filter { peers[$0].host == peers[rank].host }
        let next = local[(local.firstIndex(of: rank)! + 1) % local.count]
        return next == rank ? nil : next
    }

    /// Whether the process no longer exists. Only for processes on this host.
    var isGone: Bool { kill(process, 0) != 0 && errno == ESRCH }

    /// Why the process makes no progress, if the system can tell. Only for processes on this host.
    var problem: String? {
        guard !isGone else { return "its process is gone" }
        // The state follows the program's name in parentheses.
        guard let text = FileSystem.contents(ofSystemFile: "/proc/\(process)/stat"),
            let bracket = text.lastIndex(of: ")")
        else { return nil }
        switch text[bracket...].dropFirst(2).first {
        case "T", "t": return "its process is stopped"
        case "D": return "its process is waiting for a disk"
        case "Z", "X": return "its process is gone"
        default: return nil
        }
    }
}
