import DataParallel
import FoundationEssentials
import Glibc
import Kernels
import Support

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
    /// Of each rank, the host and the processors that it may run on, as `node07, processors 0-3`. For the time of the
    /// run: not encoded.
    public private(set) var places: [String] = []

    private enum CodingKeys: String, CodingKey { case ranks, threads, hosts, processor, vectorLevel, isBound }

    /// Collective.
    ///
    /// - Parameter threads: of this rank.
    package init(threads: Int, communicator: Communicator) throws {
        let isFree = WorkerPool.allowedCores >= sysconf(Int32(_SC_NPROCESSORS_ONLN))
        let maxima = try communicator.allReduceMax([Int64(threads), isFree ? 1 : 0])
        var hosts: [String] = []
        for name in try communicator.allGather(bytes: Array(communicator.hostName.utf8)) {
            let host = String(decoding: name, as: UTF8.self)
            if !hosts.contains(host) { hosts.append(host) }
        }
        let status = FileSystem.contents(ofSystemFile: "/proc/self/status") ?? ""
        let processors = status.split(separator: "Cpus_allowed_list:\t").dropFirst().first?.prefix { $0 != "\n" }
        let place = "\(communicator.hostName), processors \(processors ?? "unknown")"
        places = try communicator.allGather(bytes: Array(place.utf8)).map { String(decoding: $0, as: UTF8.self) }
        ranks = communicator.size
        self.threads = Int(maxima[0])
        self.hosts = hosts
        processor = processorName()
        vectorLevel = VectorLevel.current.description
        isBound = maxima[1] == 0
    }
}
