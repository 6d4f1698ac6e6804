import DataParallel
import FoundationEssentials
import Glibc
import Kernels

/// Where a run takes place, for people who look at its results.
public struct RunMachine: Codable, Sendable, Equatable {
    /// Processes that share each batch.
    public let ranks: Int
    /// Of each rank; of ranks that differ, the most.
    public let threads: Int
    /// The hosts' names, in the order of their first ranks.
    public let hosts: [String]
    /// Rank zero's CPU.
    public let processor: String
    /// The vector instructions in use.
    public let vectorLevel: String
    /// Whether every rank may run on a part of its host's processors only.
    public let isBound: Bool

    /// Collective.
    ///
    /// - Parameter threads: of this rank.
    init(threads: Int, communicator: Communicator) throws {
        let isFree = WorkerPool.allowedCores >= sysconf(Int32(_SC_NPROCESSORS_ONLN))
        let maxima = try communicator.allReduceMax([Int64(threads), isFree ? 1 : 0])
        var hosts: [String] = []
        for name in try communicator.allGather(bytes: Array(communicator.hostName.utf8)) {
            let host = String(decoding: name, as: UTF8.self)
            if !hosts.contains(host) { hosts.append(host) }
        }
        ranks = communicator.size
        self.threads = Int(maxima[0])
        self.hosts = hosts
        processor = processorName()
        vectorLevel = VectorLevel.current.description
        isBound = maxima[1] == 0
    }
}
