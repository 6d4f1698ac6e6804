import FoundationEssentials
import Glibc
import TestSupport
import Testing

@testable import Support

/// The files of control groups in both versions, as seen on hosts and in containers.
@Suite struct MemoryGroupTests {
    let scratch = ScratchFolder()

    private func write(_ text: String, to path: String) throws {
        let folder = scratch(String(path[..<path.lastIndex(of: "/")!]))
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        _ = try scratch.write(Array(text.utf8), to: path)
    }

    private func group() throws -> MemoryGroup { try #require(MemoryGroup(of: 7, root: scratch.path)) }

    @Test func `in v2 the tightest limit of a group and its parents counts`() throws {
        try write("0::/job/step/task\n", to: "proc/7/cgroup")
        #expect(try group().limit == nil && group().kills == nil)
        try write("max\n", to: "sys/fs/cgroup/job/step/task/memory.max")
        try write("1048576\n", to: "sys/fs/cgroup/job/step/memory.max")
        try write("4194304\n", to: "sys/fs/cgroup/job/memory.max")
        #expect(try group().limit?.bytes == 1 << 20)
        #expect(try group().limit?.folder == scratch("sys/fs/cgroup/job/step"))
        try write(
            "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", to: "sys/fs/cgroup/job/step/memory.events")
        try write("low 0\noom 9\noom_kill 8\n", to: "sys/fs/cgroup/job/memory.events")
        #expect(try group().kills == 2)
    }

    @Test func `v1 has it in other files, even if v2 is there too`() throws {
        try write("9:name=systemd:/a\n4:cpu,memory:/job\n0::/elsewhere\n", to: "proc/7/cgroup")
        try write("1\n", to: "sys/fs/cgroup/elsewhere/memory.max")
        try write("9223372036854771712\n", to: "sys/fs/cgroup/memory/memory.limit_in_bytes")
        try write("2097152\n", to: "sys/fs/cgroup/memory/job/memory.limit_in_bytes")
        try write("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", to: "sys/fs/cgroup/memory/job/memory.oom_control")
        #expect(try group().limit?.bytes == 2 << 20)
        #expect(try group().kills == 5)
    }

    @Test(arguments: ["0::/\n", "0::/docker/0123\n", "0::/../../other\n"])
    func `a container that sees its own group as the root has its limit`(
        entry: String
    ) throws {
        try write(entry, to: "proc/7/cgroup")
        try write("8388608\n", to: "sys/fs/cgroup/memory.max")
        try write("oom_kill 1\n", to: "sys/fs/cgroup/memory.events")
        #expect(try group().limit?.bytes == 8 << 20)
        #expect(try group().kills == 1)
    }

    @Test(arguments: ["", "4:cpu:/\n", "nonsense\n"]) func `a system without memory groups has no limit`(
        entries: String
    )
        throws
    {
        try write(entries, to: "proc/7/cgroup")
        #expect(MemoryGroup(of: 7, root: scratch.path) == nil)
    }
}
