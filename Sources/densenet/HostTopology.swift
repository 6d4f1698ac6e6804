import Support

/// This host's cores, as far as they decide how ranks are laid out.
struct HostTopology: Equatable {
    /// Physical cores that ranks may use: a second hardware thread of a core adds little to arithmetic.
    var cores: Int
    /// How many of them share each L3 cache.
    var caches: [Int]
    /// How many of them each NUMA domain has.
    var nodes: [Int]
    /// The first processor, where mpirun may bind ranks to cores; nil where it must not.
    var first: Int?

    init(cores: Int, caches: [Int], nodes: [Int], first: Int?) {
        (self.cores, self.caches, self.nodes, self.first) = (cores, caches, nodes, first)
    }

    /// - Parameters:
    ///   - allowed: the processors that this process may run on, such as `0-3,8`.
    ///   - root: the folder of the system's files, with `sys` in it; another one in tests.
    init(allowed list: String = Self.allowedProcessors, root: String = "") {
        let processors = Self.numbers(list)
        let system = root + "/sys/devices/system"
        func processor(_ number: Int, _ file: String) -> String {
            FileSystem.contents(ofSystemFile: "\(system)/cpu/cpu\(number)/\(file)") ?? ""
        }
        // One processor for each core; a host that says nothing has only cores.
        var seen: Set<[Int]> = []
        let first = processors.filter { number in
            let threads = Self.numbers(processor(number, "topology/thread_siblings_list"))
            return seen.insert(threads.isEmpty ? [number] : threads).inserted
        }
        cores = max(1, first.count)
        func domains(_ name: (Int) -> [Int]) -> [Int] {
            var counts: [[Int]: Int] = [:]
            for number in first { counts[name(number), default: 0] += 1 }
            return counts.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
        }
        caches = domains { Self.numbers(processor($0, "cache/index3/shared_cpu_list")) }
        let numbers = Self.numbers(FileSystem.contents(ofSystemFile: "\(system)/node/online"))
        let lists = numbers.map { Self.numbers(FileSystem.contents(ofSystemFile: "\(system)/node/node\($0)/cpulist")) }
        nodes = domains { number in lists.first { $0.contains(number) } ?? [] }
        // mpirun binds to the first cores of the machine, also those that this process may not use.
        let isWhole = processors == Self.numbers(FileSystem.contents(ofSystemFile: "\(system)/cpu/online"))
        self.first = isWhole ? processors.first : nil
        // A container's quota of processor time; other containers would be bound to the same first cores.
        let quota = (FileSystem.contents(ofSystemFile: root + "/sys/fs/cgroup/cpu.max") ?? "")
            .split { $0.isWhitespace }.compactMap { Int($0) }
        if quota.count == 2, quota[1] > 0, quota[0] / quota[1] < cores {
            cores = max(1, quota[0] / quota[1])
            (caches, nodes, self.first) = ([cores], [cores], nil)
        }
    }

    /// What the system allows this process.
    static var allowedProcessors: String {
        let status = FileSystem.contents(ofSystemFile: "/proc/self/status") ?? ""
        return status.split(separator: "Cpus_allowed_list:\t").dropFirst().first.map {
            String($0.prefix { $0 != "\n" })
        } ?? ""
    }

    /// A list such as `0-3,8`, up to the end of its line.
    private static func numbers(_ list: (some StringProtocol)?) -> [Int] {
        (list ?? "").prefix { $0 != "\n" }.split(separator: ",").flatMap { part -> [Int] in
            let ends = part.split(separator: "-").compactMap { Int($0) }
            guard let first = ends.first, let last = ends.last, first <= last else { return [] }
            return Array(first...last)
        }
    }
}
