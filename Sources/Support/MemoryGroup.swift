import Glibc

/// The memory control group of a process (cgroup v1 or v2).
struct MemoryGroup {
    /// The group's folder and its parents, bottom-up. Some may not exist: a container sees its own group as the root.
    private let folders: [String]
    private let isUnified: Bool

    /// Nil if the system does not say.
    ///
    /// - Parameter root: a prefix for `/proc` and `/sys`.
    init?(of process: pid_t = getpid(), root: String = "") {
        let lines = (FileSystem.contents(ofSystemFile: "\(root)/proc/\(process)/cgroup") ?? "").split(separator: "\n")
        let entries = lines.map { $0.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false) }.filter {
            $0.count == 3
        }
        // The memory controller is in only one of v1 and v2.
        let old = entries.first { $0[1].split(separator: ",").contains("memory") }
        guard let path = (old ?? entries.first { $0[0] == "0" })?[2] else { return nil }
        isUnified = old == nil
        let mounts = isUnified ? ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] : ["/sys/fs/cgroup/memory"]
        let names = path.split(separator: "/")
        folders = mounts.flatMap { mount in
            (0...names.count).reversed().map { count in
                ([root + mount] + names[..<count].map(String.init)).joined(separator: "/")
            }
        }
    }

    /// The lowest limit of the group and its parents; nil if there is none.
    var limit: (bytes: Int, folder: String)? {
        let limits = folders.compactMap { folder in
            // No limit is `max` in v2 and a huge number in v1.
            FileSystem.contents(ofSystemFile: "\(folder)/\(isUnified ? "memory.max" : "memory.limit_in_bytes")")
                .flatMap { Int($0.prefix { $0.isNumber }) }.map { (bytes: $0, folder: folder) }
        }
        return limits.min { $0.bytes < $1.bytes }
    }

    /// The number of processes in the group that the out-of-memory killer has ended; nil if the kernel does not say.
    var kills: Int? {
        for folder in folders {
            let file = FileSystem.contents(
                ofSystemFile: "\(folder)/\(isUnified ? "memory.events" : "memory.oom_control")")
            if let count = file.flatMap(killCount) { return count }
        }
        return nil
    }
}

/// Detects whether the kernel's out-of-memory killer has ended a process since this value was created.
package struct OutOfMemoryKills: Sendable {
    private let group: MemoryGroup?
    private let before: Int?

    /// Counts in the control group of a process of this host or, if that keeps no count, on the whole host.
    package init(near process: pid_t) {
        group = MemoryGroup(of: process)
        before = Self.count(group)
    }

    /// A clause for messages about the death of a process.
    package static let cause = " (killed by the kernel: out of memory)"

    package var haveIncreased: Bool {
        guard let before, let now = Self.count(group) else { return false }
        return now > before
    }

    /// The number of processes killed so far in this process's control group or, if that keeps no count, on this host.
    package static var count: Int { count(MemoryGroup()) ?? 0 }

    private static func count(_ group: MemoryGroup?) -> Int? {
        group?.kills ?? FileSystem.contents(ofSystemFile: "/proc/vmstat").flatMap(killCount)
    }
}

/// The number in the line `oom_kill NUMBER`.
private func killCount(_ text: String) -> Int? {
    let word = "oom_kill "
    let line = text.split(separator: "\n").first { $0.hasPrefix(word) }
    return line.flatMap { Int($0.dropFirst(word.count)) }
}
