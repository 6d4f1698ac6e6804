import DenseNetModel
import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

/// Under any memory limit a job trains, or says before its first step what it needs and which limit prevents it.
@Suite struct MemoryLimitTests {
    let scratch = ScratchFolder()
    private static let small = [
        "--model", "densenet-bc-10-4", "--limit-train", "64", "--limit-test", "32", "--epochs", "1",
    ]
    private static let large = [
        "--model", "densenet121", "--image", "224", "--limit-train", "8", "--limit-test", "8", "--batch-size", "8",
    ]
    /// The address sanitizer reserves terabytes.
    private static let canLimit = !isSanitized

    /// Trains with a limit on the address space of each process, in KiB.
    private func limited(_ options: [String], addressSpace: Int, ranks: Int) throws -> ProgramResult {
        let program = try builtExecutable(named: "densenet")
        let launch =
            ranks == 1 ? "exec" : "exec mpirun --allow-run-as-root --oversubscribe --bind-to none -q -n \(ranks)"
        let arguments = [program, "train", "--out", scratch("run")] + options
        return try withJobSlot {
            try run("sh", ["-c", "ulimit -v \(addressSpace) && \(launch) \"$@\"", "sh"] + arguments, timeout: 30)
        }
    }

    @Test(
        .enabled(if: canLimit),
        arguments: [
            (small, 150_000, 1, false), (small, 300_000, 1, false), (small, 500_000, 1, true),
            (small, 300_000, 2, false),
            (small, 500_000, 2, true), (large, 500_000, 1, false), (large, 800_000, 1, false),
            (large, 600_000, 2, false),
        ])
    func `too little address space is reported in one line before the first step, and enough is sufficient`(
        _ options: [String], _ limit: Int, _ ranks: Int, _ isEnough: Bool
    ) throws {
        let job = try limited(options, addressSpace: limit, ranks: ranks)
        #expect(job.status == (isEnough ? 0 : 69), "\(job.errors)")
        #expect(FileManager.default.fileExists(atPath: scratch("run/weights.safetensors")) == isEnough)
        guard !isEnough else { return }
        #expect(job.errors.lines.count == 1 && job.errors.hasPrefix("densenet: "), "\(job.errors)")
        #expect(job.errors.contains(" MiB of address space, ulimit -v \(limit) leaves "), "\(job.errors)")
        #expect(!FileManager.default.fileExists(atPath: scratch("run")))
    }

    /// A batch of which one rank's half fits in this machine's memory but both halves do not.
    private static func batch(of configuration: DenseNetConfiguration, training: Bool) throws -> Int {
        let images = 64
        let memory = try NetworkDescription(configuration, batchSize: images).memory.activations
        let present = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        return present / 4 * 3 / (memory / images) * 2 * (training ? 1 : 4)
    }

    @Test(arguments: ["train", "bench", "evaluate"])
    func `memory that suffices for one rank but not for all ranks of a host is refused`(command: String) throws {
        let network = try DenseNetConfiguration(model: "densenet121")
        let batch = try Self.batch(of: network, training: command != "evaluate")
        var options: [String] = []
        if command == "train" { options = ["--out", scratch("run"), "--limit-train", "8", "--limit-test", "8"] }
        if command == "evaluate" {
            options = ["--weights", scratch("weights")]
            try WeightsFile.write(freshSmallNetwork(), to: scratch("weights"))
        }
        let arguments = [command, "--model", "densenet121", "--image", "224", "--batch-size", "\(batch)"] + options
        let job = try mpirun(ranks: 2, program: "densenet", arguments: arguments, quiet: true)
        #expect(job.status == 69)
        let words = "densenet: 2 ranks on this host need "
        #expect(job.errors.lines.count == 1 && job.errors.hasPrefix(words), "\(job.errors)")
        #expect(job.errors.contains(", or fewer ranks per host"))
    }

    @Test func `a network alone may use the whole machine, with other ranks its share`() throws {
        let network = try DenseNetConfiguration(model: "densenet-bc-10-4")
        _ = try TrainableDenseNet(network, capacity: 1)
        let failure = #expect(throws: Failure.self) {
            try TrainableDenseNet(network, capacity: 1, overhead: MemoryOverhead(ranks: 10_000_000))
        }
        #expect(failure?.kind == .unavailable)
        #expect(failure?.message.contains("10000000 ranks on this host need ") == true)
        #expect(failure?.message.contains(" MiB of memory (1 image per rank needs ") == true, "\(failure as Any)")
    }

    // MARK: - Control groups

    @Test(.enabled(if: ControlGroup.canBeMade)) func `a control group's limit is the host's`() throws {
        let group = try ControlGroup(mebibytes: 200)
        let program = try builtExecutable(named: "densenet")
        for (batch, words) in [(100_000, "100000 images per rank need "), (8, "")] {
            let options =
                smallNetwork + [
                    "--limit-train", "32", "--limit-test", "8", "--epochs", "1", "--batch-size", "\(batch)",
                ]
            let job = try group.start([program, "train", "--out", scratch("run-\(batch)")] + options).wait(timeout: 30)
            #expect(job.status == (words.isEmpty ? 0 : 69), "\(job.errors)")
            if !words.isEmpty {
                #expect(job.errors.lines.count == 1 && job.errors.hasPrefix("densenet: " + words), "\(job.errors)")
                #expect(
                    job.errors.contains(" MiB of memory, the memory cgroup \(group.folder) allows 200; "),
                    "\(job.errors)")
            }
        }
    }

    @Test(.enabled(if: ControlGroup.canBeMade))
    func `a rank killed by the kernel for lack of memory is reported as such`()
        throws
    {
        let group = try ControlGroup(mebibytes: 300)
        let path = scratch("run")
        let arguments = ["train"] + smallRun + ["--epochs", "100000", "--out", path]
        // Only rank 1 is in the group, since memory pressure stalls all its processes.
        let limited = [":", "-n", "1"] + group.command([try builtExecutable(named: "densenet")] + arguments)
        try withMPIJob(ranks: 1, program: "densenet", arguments: arguments + limited, quiet: true, killDelay: 1) {
            job in
            try job.wait(for: "training") { job.output.contains("epoch 002") }
            usleep(500_000)
            // The kernel kills the rank first.
            let record = String(decoding: try scratch.read("run/ranks/rank-1"), as: UTF8.self)
            try Data("1000".utf8).write(to: URL(filePath: "/proc/\(record.prefix { $0 != " " })/oom_score_adj"))
            _ = try? group.start(["sh", "-c", "head -c 400M /dev/zero | tail -c 400M >/dev/null"]).wait(timeout: 30)
            let result = try job.wait(timeout: 30)
            #expect(result.status == 128 + SIGKILL)
            let lines = result.errors.lines.filter { $0.hasPrefix("densenet: ") }
            #expect(lines.count == 1, "\(result.errors)")
            #expect(
                lines.first?.contains(" (killed by the kernel: out of memory); resume with: ") == true, "\(lines)")
        }
    }
}

/// A memory control group (v1 or v2) below this process's own, removed on deinit.
private final class ControlGroup {
    let folder: String

    static let canBeMade: Bool = !isSanitized && (try? ControlGroup(mebibytes: 100)) != nil

    init(mebibytes: Int) throws {
        let lines = String(decoding: try Data(contentsOf: URL(filePath: "/proc/self/cgroup")), as: UTF8.self).lines
        let old = lines.first { $0.contains(":memory:") }
        let mount = old == nil ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
        let path = (old ?? lines.first { $0.hasPrefix("0::") } ?? "::/").split(
            separator: ":", omittingEmptySubsequences: false)[2]
        folder = mount + (path == "/" ? "" : path) + "/densenet-test-\(getpid())-\(mebibytes)"
        guard mkdir(folder, 0o755) == 0 else {
            throw Failure(.unavailable, "no control group \(folder): errno \(errno)")
        }
        let file = old == nil ? "memory.max" : "memory.limit_in_bytes"
        do { try Data("\(mebibytes << 20)".utf8).write(to: URL(filePath: "\(folder)/\(file)")) } catch {
            rmdir(folder)
            throw error
        }
    }

    deinit { rmdir(folder) }

    /// The prefix that runs a command in the group.
    func command(_ words: [String]) -> [String] {
        ["sh", "-c", "echo $$ >\(folder)/cgroup.procs && exec \"$@\"", "sh"] + words
    }

    func start(_ words: [String]) throws -> RunningProgram {
        try RunningProgram("sh", Array(command(words).dropFirst()))
    }
}
