import Support

/// What ranks may use of this host's cores.
struct HostCores {
    /// Physical cores: a second hardware thread of a core adds little to arithmetic.
    let count: Int
    /// The first processor, where mpirun may bind ranks to cores.
    let first: Int?

    init() {
        let status = FileSystem.contents(ofSystemFile: "/proc/self/status") ?? ""
        let allowed = Self.numbers(status.split(separator: "Cpus_allowed_list:\t").dropFirst().first)
        let cores = max(1, Set(allowed.map(Self.core)).count)
        // A container's quota of processor time; other containers would be bound to the same first cores.
        let quota = (FileSystem.contents(ofSystemFile: "/sys/fs/cgroup/cpu.max") ?? "").split { $0.isWhitespace }
            .compactMap { Int($0) }
        if quota.count == 2, quota[1] > 0, quota[0] / quota[1] < cores {
            (count, first) = (max(1, quota[0] / quota[1]), nil)
        } else {
            // mpirun binds to the first cores of the machine, also those that this process may not use.
            let isWhole = allowed == Self.numbers(FileSystem.contents(ofSystemFile: "/sys/devices/system/cpu/online"))
            (count, first) = (cores, isWhole ? allowed.first : nil)
        }
    }

    /// A list such as `0-3,8`, up to the end of its line.
    private static func numbers(_ list: (some StringProtocol)?) -> [Int] {
        (list ?? "").prefix { $0 != "\n" }.split(separator: ",").flatMap { part -> [Int] in
            let ends = part.split(separator: "-").compactMap { Int($0) }
            guard let first = ends.first, let last = ends.last, first <= last else { return [] }
            return Array(first...last)
        }
    }

    /// The hardware threads of a processor's core.
    private static func core(of processor: Int) -> String {
        FileSystem.contents(ofSystemFile: "/sys/devices/system/cpu/cpu\(processor)/topology/thread_siblings_list")
            ?? "\(processor)"
    }
}
