import Glibc
import Support

/// A rank's host and process, which all ranks know from the start.
struct Peer: Sendable {
    let host: String
    let process: pid_t

    /// Collective: all ranks, in rank order.
    static func all(of communicator: Communicator) throws -> [Peer] {
        let processes = try communicator.allGather(getpid())
        let hosts = try communicator.allGather(bytes: Array(communicator.hostName.utf8))
        return zip(hosts, processes).map { Peer(host: String(decoding: $0, as: UTF8.self), process: $1) }
    }

    /// The rank on the same host that `rank` watches: the next one, and the first after the last. Nil for the only one
    /// on its host.
    static func neighbour(of rank: Int, among peers: [Peer]) -> Int? {
        let local = peers.indices.filter { peers[$0].host == peers[rank].host }
        let next = local[(local.firstIndex(of: rank)! + 1) % local.count]
        return next == rank ? nil : next
    }

    /// Whether the process, one of this host, no longer exists.
    var isGone: Bool { kill(process, 0) != 0 && errno == ESRCH }

    /// Why the process, one of this host, makes no progress, if the system can tell.
    var problem: String? {
        guard !isGone else { return "its process is gone" }
        // The state follows the program's name, which is in brackets.
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
