import Support

/// How a job is laid out on its hosts: ranks, threads of each, and where mpirun puts them.
///
/// A pure function of what is known of hosts, images and wishes, so that it can be tried on machines that are not here.
struct RankMapping: Equatable {
    /// Ranks on all hosts; nil where mpirun or the scheduler knows their number.
    let ranks: Int?
    /// Threads of each rank; nil where each rank looks for itself what it may use.
    let threads: Int?
    /// A clause that goes on from the numbers.
    let reason: String
    /// What mpirun is told of it.
    let options: [String]

    private init(ranks: Int?, threads: Int?, reason: String, options: [String]) {
        (self.ranks, self.threads, self.reason) = (ranks, threads, reason)
        self.options =
            (ranks.map { ["-n", "\($0)"] } ?? []) + options + (threads.map { ["-x", "DENSENET_THREADS=\($0)"] } ?? [])
    }

    /// For more ranks or threads than cores: none is bound, and ranks that wait let others have the core.
    private static let unbound = ["--bind-to", "none"]
    private static let patient = unbound + ["--mca", "mpi_yield_when_idle", "1"]
    private static let oversubscribed = patient + ["--oversubscribe"]
    private static let bound = ["--bind-to", "core:if-supported,overload-allowed"]

    /// Where ranks may be started.
    enum Allocation: Equatable {
        case thisHost
        /// The hosts of a host file, with their slots; 0 where the file does not say.
        case hosts(slots: [Int])
        /// A job of SLURM.
        case slurm(tasks: Int?, hosts: Int, processorsPerTask: Int)
    }

    /// What the user has said.
    struct Wishes: Equatable {
        /// On all hosts; or else `ranksPerHost`.
        var ranks: Int?
        var ranksPerHost: Int?
        var threads: Int?
        /// Images per step over all ranks, where the command knows them.
        var images: Int?
        /// Images that stay together on a rank.
        var unit = 1

        /// Images that a rank is to have at least.
        fileprivate var imagesPerRank: Int { max(RankMapping.imagesPerRank, unit) }
    }

    /// Images that a rank is to have at least where nobody says how many ranks there are: with fewer, communication and
    /// half-empty vectors take more than another rank brings.
    static let imagesPerRank = 8

    static func choose(_ host: HostTopology, _ allocation: Allocation, _ wishes: Wishes) -> RankMapping {
        switch allocation {
        case .thisHost: return onThisHost(host, wishes)
        case .hosts(let slots): return onHosts(slots, host, wishes)
        case .slurm(let tasks, let hosts, let processors):
            return underSLURM(tasks: tasks, hosts: hosts, processorsPerTask: processors, wishes)
        }
    }

    // MARK: - This host

    private static func onThisHost(_ host: HostTopology, _ wishes: Wishes) -> RankMapping {
        let asked = wishes.ranks ?? wishes.ranksPerHost
        let (ranks, reason) = asked.map { ($0, "as asked") } ?? divide(host, hosts: 1, wishes)
        let share = max(1, host.cores / ranks)
        let threads = wishes.threads ?? share
        let options =
            if ranks > host.cores {
                oversubscribed
            } else if ranks * threads > host.cores {
                patient
            } else if host.first == nil {
                unbound
            } else {
                // The cores that a rank is bound to are neighbours, as those of a cache are.
                bound + (share > 1 ? ["--map-by", "slot:PE=\(share)"] : [])
            }
        return RankMapping(ranks: ranks, threads: threads, reason: reason, options: options)
    }

    /// The number of ranks of each host where nobody gives it.
    private static func divide(
        _ host: HostTopology, hosts: Int, _ wishes: Wishes
    ) -> (ranks: Int, reason: String) {
        let most = wishes.images.map { max(1, $0 / wishes.imagesPerRank / hosts) } ?? .max
        if let threads = wishes.threads {
            let fitting = max(1, host.cores / threads)
            let words = "that many threads each fill \(counted(host.cores, "core"))"
            return fitting <= most ? (fitting, words) : (most, limit(wishes, most, hosts))
        }
        let (units, words) = units(of: host)
        let ranks = (1...units).last { units % $0 == 0 && $0 <= most } ?? 1
        guard ranks < units else { return (units, words) }
        return (ranks, limit(wishes, most, hosts))
    }

    private static func limit(_ wishes: Wishes, _ most: Int, _ hosts: Int) -> String {
        let place = hosts > 1 ? " on each of \(hosts) hosts" : ""
        return "\(counted(wishes.images ?? 0, "image")) a step are work for \(counted(most, "rank")) at most\(place), "
            + "\(wishes.imagesPerRank) images each"
    }

    /// What would have a rank each: several L3 caches, or NUMA domains, or else cores.
    private static func units(of host: HostTopology) -> (count: Int, reason: String) {
        let cores = counted(host.cores, "core")
        for (parts, name) in [(host.caches, "L3 caches"), (host.nodes, "NUMA domains")]
        where parts.count > 1 && parts.count < host.cores && Set(parts).count == 1 {
            return (parts.count, "\(cores) share \(parts.count) \(name), and a rank has one for itself")
        }
        return (host.cores, host.cores == 1 ? "there is 1 core" : "there are \(cores), one a rank")
    }

    // MARK: - Several hosts

    private static func onHosts(_ slots: [Int], _ host: HostTopology, _ wishes: Wishes) -> RankMapping {
        let total = slots.reduce(0, +)
        // Hosts that are alike, in what the file says of them.
        let each = Set(slots).count == 1 && total > 0 ? slots[0] : nil
        if let perHost = wishes.ranksPerHost {
            return perNode(perHost, hosts: slots.count, share: each, wishes, reason: "as asked", binds: true)
        }
        if let ranks = wishes.ranks {
            return RankMapping(
                ranks: ranks, threads: wishes.threads, reason: "as asked",
                options: ranks > total && total > 0 ? oversubscribed : bound)
        }
        if let each {
            // Slots that are as many as this host's cores stand for hosts like this one.
            let like = each == host.cores ? host : HostTopology(cores: each, caches: [], nodes: [], first: nil)
            let (perHost, reason) = divide(like, hosts: slots.count, wishes)
            if perHost < each {
                return perNode(perHost, hosts: slots.count, share: each, wishes, reason: reason, binds: true)
            }
        }
        let count = total > 0 ? "\(total) slots" : "slots"
        return RankMapping(
            ranks: total > 0 ? total : nil, threads: wishes.threads, reason: "the host file has \(count)",
            options: bound)
    }

    /// - Parameter share: the cores of a host that its ranks divide; nil where it is unknown.
    private static func perNode(
        _ ranks: Int, hosts: Int, share: Int?, _ wishes: Wishes, reason: String, binds: Bool
    ) -> RankMapping {
        let threads = wishes.threads ?? share.map { max(1, $0 / ranks) }
        let fits = share.map { ranks * (threads ?? 1) <= $0 } ?? false
        let place = "ppr:\(ranks):node"
        let options =
            if binds, fits, let threads {
                ["--map-by", threads > 1 ? "\(place):PE=\(threads)" : place] + bound
            } else {
                ["--map-by", place] + (share.map { ranks > $0 } ?? false ? oversubscribed : fits ? unbound : patient)
            }
        return RankMapping(ranks: ranks * hosts, threads: threads, reason: reason, options: options)
    }

    private static func underSLURM(
        tasks: Int?, hosts: Int, processorsPerTask: Int, _ wishes: Wishes
    ) -> RankMapping {
        if let perHost = wishes.ranksPerHost {
            let share = tasks.map { $0 / hosts * processorsPerTask }
            return perNode(perHost, hosts: hosts, share: share, wishes, reason: "as asked", binds: false)
        }
        let isTooMany = wishes.ranks.map { $0 > tasks ?? .max } ?? false
        let reason = tasks.map { "SLURM has given \(counted($0, "task"))" } ?? "SLURM has given them"
        return RankMapping(
            ranks: wishes.ranks ?? tasks, threads: wishes.threads, reason: wishes.ranks == nil ? reason : "as asked",
            // For threads: SLURM counts cores or hardware threads, mpirun cores.
            options: isTooMany ? oversubscribed : processorsPerTask > 1 ? unbound : bound)
    }

    // MARK: - Words

    /// Such as `# 2 ranks × 8 threads, because 16 cores share 2 L3 caches, and a rank has one for itself`.
    var summary: String {
        let ranks = ranks.map { counted($0, "rank") } ?? "a rank for each slot"
        let threads = threads.map { " × \(counted($0, "thread"))" } ?? ""
        return "# \(ranks)\(threads), because \(reason); another number of ranks (-n) changes the last digits only"
    }
}

extension RankMapping.Allocation {
    /// - Parameters:
    ///   - slots: those of the host file's hosts, added up, such as `16+16`; empty without a host file.
    ///   - environment: looks up a variable.
    init(slots: String, environment: (String) -> String?) {
        func number(_ name: String) -> Int? { environment(name).flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil } }
        if !slots.isEmpty {
            self = .hosts(slots: slots.split(separator: "+").compactMap { Int($0) })
        } else if environment("SLURM_JOB_ID") != nil {
            self = .slurm(
                tasks: number("SLURM_NTASKS"), hosts: number("SLURM_JOB_NUM_NODES") ?? 1,
                processorsPerTask: number("SLURM_CPUS_PER_TASK") ?? 1)
        } else {
            self = .thisHost
        }
    }
}
