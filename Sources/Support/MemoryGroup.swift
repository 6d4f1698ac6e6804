import Glibc

/// The control group that a process's memory belongs to, in cgroups of version 1 or 2.
struct MemoryGroup {
    /// The group's folder and those above it, from the bottom up. Some may not be there: a container sees its own as
    /// the top.
    private let folders: [String]
    private let isUnified: Bool

    /// Nil where the system does not say.
    ///
    /// - Parameter root: what stands before `/proc` and `/sys`.
    init?(of process: pid_t = getpid(), root: String = "") {
        let lines = (FileSystem.contents(ofSystemFile: "\(root)/proc/\(process)/cgroup") ?? "").split(separator: "\n")
        let entries = lines.map { $0.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false) }.filter {
            $0.count == 3
        }
        // Where version 1 has the memory, version 2 does not.
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

    /// The least that the group, or one above it, allows; nil where none is limited.
    var limit: (bytes: Int, folder: String)? {
        let limits = folders.compactMap { folder in
            // Version 2 says `max` where there is none, version 1 a number beyond all memory.
            FileSystem.contents(ofSystemFile: "\(folder)/\(isUnified ? "memory.max" : "memory.limit_in_bytes")")
                .flatMap { Int($0.prefix { $0.isNumber }) }.map { (bytes: $0, folder: folder) }
        }
        return limits.min { $0.bytes < $1.bytes }
    }

    /// How many processes of the group the kernel has ended for want of memory; nil where it does not say.
    var kills: Int? {
        for folder in folders {
            let file = FileSystem.contents(
                ofSystemFile: "\(folder)/\(isUnified ? "memory.events" : "memory.oom_control")")
            if let count = file.flatMap(killCount) { return count }
        }
        return nil
    }
}

/// Whether the kernel has ended a process for want of memory since this was made.
package struct MemoryKills: Sendable {
    private let group: MemoryGroup?
    private let before: Int?

    /// Looks after a process of this host; where its control group does not count, after the whole host.
    package init(near process: pid_t) {
        group = MemoryGroup(of: process)
        before = Self.count(group)
    }

    /// What a line on a death adds.
    package static let words = " (the kernel ended it for want of memory)"

    package var haveGrown: Bool {
        guard let before, let now = Self.count(group) else { return false }
        return now > before
    }

    /// How many processes the kernel has ended so far for want of memory, in this process's group or, where that does
    /// not count, on this host.
    package static var count: Int { count(MemoryGroup()) ?? 0 }

    private static func count(_ group: MemoryGroup?) -> Int? {
        group?.kills ?? FileSystem.contents(ofSystemFile: "/proc/vmstat").flatMap(killCount)
    }
}

/// The number behind the word `oom_kill` on a line of its own.
private func killCount(_ text: String) -> Int? {
    let word = "oom_kill "
    let line = text.split(separator: "\n").first { $0.hasPrefix(word) }
    return line.flatMap { Int($0.dropFirst(word.count)) }
}
