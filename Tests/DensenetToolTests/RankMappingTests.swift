import FoundationEssentials
import TestSupport
import Testing

@testable import DensenetTool

/// How ranks and threads are laid out, on machines that are not here.
@Suite struct RankMappingTests {
    private static let two = HostTopology(cores: 2, caches: [2], nodes: [2], first: 0)
    private static let sixteen = HostTopology(cores: 16, caches: [8, 8], nodes: [16], first: 0)
    private static let epyc = HostTopology(
        cores: 64, caches: Array(repeating: 8, count: 8), nodes: [32, 32], first: 0)
    private static let twoSockets = HostTopology(
        cores: 128, caches: Array(repeating: 8, count: 16), nodes: Array(repeating: 64, count: 2), first: 0)
    private static let xeon = HostTopology(cores: 96, caches: [96], nodes: [48, 48], first: 0)

    private func choose(
        _ host: HostTopology, _ allocation: RankMapping.Allocation = .thisHost, images: Int? = 64, ranks: Int? = nil,
        perHost: Int? = nil, threads: Int? = nil
    ) -> RankMapping {
        RankMapping.choose(
            host, allocation,
            RankMapping.Wishes(ranks: ranks, ranksPerHost: perHost, threads: threads, images: images))
    }

    private func layout(_ mapping: RankMapping) -> [Int?] { [mapping.ranks, mapping.threads] }

    @Test func `a rank has a core, or an L3 cache, or a NUMA domain, and eight images at least`() {
        for (host, images, expected) in [
            (Self.two, 64, [2, 1]), (Self.two, 16, [2, 1]), (Self.two, 15, [1, 2]), (Self.two, nil, [2, 1]),
            (Self.sixteen, 64, [2, 8]), (Self.sixteen, 8, [1, 16]),
            (Self.epyc, 64, [8, 8]), (Self.epyc, 63, [4, 16]), (Self.epyc, 16, [2, 32]),
            (Self.twoSockets, 64, [8, 16]), (Self.twoSockets, 256, [16, 8]), (Self.twoSockets, 1, [1, 128]),
            (Self.xeon, 64, [2, 48]),
            // One cache and one domain: a rank a core, as far as there are images.
            (HostTopology(cores: 6, caches: [6], nodes: [6], first: 0), 64, [6, 1]),
            (HostTopology(cores: 16, caches: [16], nodes: [16], first: 0), 64, [8, 2]),
            // Caches of different sizes, and caches of one core, say nothing.
            (HostTopology(cores: 6, caches: [4, 2], nodes: [6], first: 0), 64, [6, 1]),
            (HostTopology(cores: 4, caches: [1, 1, 1, 1], nodes: [4], first: 0), 64, [4, 1]),
        ] as [(HostTopology, Int?, [Int?])] {
            let mapping = choose(host, images: images)
            #expect(layout(mapping) == expected, "\(host), \(images ?? 0) images: \(mapping)")
        }
        #expect(choose(Self.sixteen).summary.hasPrefix("# 2 ranks × 8 threads, because 16 cores share 2 L3 caches"))
        #expect(choose(Self.epyc, images: 16).summary.contains("16 images a step are work for 2 ranks at most"))
        let groups = RankMapping.choose(
            HostTopology(cores: 16, caches: [16], nodes: [16], first: 0), .thisHost,
            RankMapping.Wishes(images: 128, unit: 32))
        #expect(layout(groups) == [4, 4] && groups.summary.contains("32 images each"), "a rank has whole groups")
    }

    @Test func `what the user says wins, and the rest follows from it`() {
        #expect(layout(choose(Self.epyc, images: 16, ranks: 16)) == [16, 4])
        #expect(layout(choose(Self.epyc, perHost: 4)) == [4, 16])
        #expect(layout(choose(Self.epyc, perHost: 4, threads: 2)) == [4, 2])
        #expect(layout(choose(Self.epyc, images: 256, threads: 4)) == [16, 4])
        #expect(layout(choose(Self.epyc, images: 64, threads: 1)) == [8, 1])
        #expect(layout(choose(Self.two, threads: 2)) == [1, 2])
        #expect(layout(choose(Self.two, threads: 64)) == [1, 64])
    }

    @Test func `ranks are bound to neighbouring cores where the whole machine is theirs, and else to none`() {
        func options(_ mapping: RankMapping) -> String { mapping.options.joined(separator: " ") }
        let bound = "--bind-to core:if-supported,overload-allowed"
        #expect(options(choose(Self.two)) == "-n 2 \(bound) -x DENSENET_THREADS=1")
        #expect(options(choose(Self.sixteen)) == "-n 2 \(bound) --map-by slot:PE=8 -x DENSENET_THREADS=8")
        var limited = Self.sixteen
        limited.first = nil
        #expect(options(choose(limited)) == "-n 2 --bind-to none -x DENSENET_THREADS=8")
        let crowded = options(choose(Self.two, ranks: 3))
        #expect(crowded.contains("--oversubscribe") && crowded.contains("--bind-to none"), "\(crowded)")
        let threads = options(choose(Self.two, ranks: 2, threads: 2))
        #expect(threads.contains("yield_when_idle 1") && threads.contains("--bind-to none"), "\(threads)")
    }

    @Test func `slots of a host file are ranks, unless they stand for cores that ranks would share`() {
        func hosts(_ slots: String) -> RankMapping.Allocation { RankMapping.Allocation(slots: slots) { _ in nil } }
        #expect(layout(choose(Self.two, hosts("2+2"), images: 64)) == [4, nil])
        #expect(layout(choose(Self.two, hosts("3+2"), images: 8)) == [5, nil])
        #expect(layout(choose(Self.two, hosts("0+0"))) == [nil, nil])
        let alike = choose(Self.sixteen, hosts("16+16"), images: 64)
        #expect(layout(alike) == [4, 8] && alike.options.contains("ppr:2:node:PE=8"), "\(alike)")
        #expect(layout(choose(Self.two, hosts("16+16"), images: 64)) == [8, 4])
        #expect(layout(choose(Self.two, hosts("16+16"), ranks: 32)) == [32, nil])
        let asked = choose(Self.two, hosts("16+16"), perHost: 2, threads: 4)
        #expect(layout(asked) == [4, 4] && asked.options.contains("ppr:2:node:PE=4"), "\(asked)")
        #expect(choose(Self.two, hosts("2"), perHost: 4).options.contains("--oversubscribe"))
    }

    @Test func `SLURM's tasks are ranks, and a number for each node is one of its nodes`() {
        let variables = [
            "SLURM_JOB_ID": "7", "SLURM_NTASKS": "32", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "4",
        ]
        let job = RankMapping.Allocation(slots: "") { variables[$0] }
        #expect(job == .slurm(tasks: 32, hosts: 2, processorsPerTask: 4))
        let mapping = choose(Self.epyc, job, images: 8)
        #expect(layout(mapping) == [32, nil] && mapping.options.contains("none"), "\(mapping)")
        let asked = choose(Self.epyc, job, perHost: 8)
        #expect(layout(asked) == [16, 8] && asked.options.contains("ppr:8:node"), "\(asked)")
        // A host file says more.
        #expect(RankMapping.Allocation(slots: "2") { variables[$0] } == .hosts(slots: [2]))
    }

    @Test func `cores, caches and domains are read as the system has them, within what the process may use`() throws {
        // Eight cores of two hardware threads in two caches and two NUMA domains.
        let scratch = ScratchFolder()
        let system = "sys/devices/system/"
        func write(_ text: String, _ path: String) throws {
            let folder = scratch(path).split(separator: "/").dropLast().map { "/\($0)" }.joined()
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            _ = try scratch.write(Array("\(text)\n".utf8), to: path)
        }
        try write("0-15", system + "cpu/online")
        try write("0-1", system + "node/online")
        for processor in 0..<16 {
            let core = processor % 8
            let half = core < 4 ? "0-3,8-11" : "4-7,12-15"
            let folder = system + "cpu/cpu\(processor)/"
            try write("\(core),\(core + 8)", folder + "topology/thread_siblings_list")
            try write(half, folder + "cache/index3/shared_cpu_list")
            try write(half, system + "node/node\(core / 4)/cpulist")
        }
        let root = String(scratch("").dropLast())
        #expect(
            HostTopology(allowed: "0-15", root: root)
                == HostTopology(cores: 8, caches: [4, 4], nodes: [4, 4], first: 0))
        #expect(
            HostTopology(allowed: "0-3,8-13", root: root)
                == HostTopology(cores: 6, caches: [4, 2], nodes: [4, 2], first: nil))
        #expect(
            HostTopology(allowed: "12", root: root) == HostTopology(cores: 1, caches: [1], nodes: [1], first: nil))
        try write("300000 100000", "sys/fs/cgroup/cpu.max")
        #expect(
            HostTopology(allowed: "0-15", root: root) == HostTopology(cores: 3, caches: [3], nodes: [3], first: nil))
        // A system that says nothing has a core.
        #expect(HostTopology(allowed: "", root: root + "/nowhere").cores == 1)
    }

    @Test func `the tuning tries all layouts that fill the cores, and no more ranks than images`() {
        let four = Tuning.candidates(cores: 4, batchSize: 2).map { [$0.ranks, $0.threads, $0.batchSize] }
        #expect(four == [[2, 2, 2], [1, 4, 2], [4, 1, 4], [2, 2, 4], [1, 4, 4]])
    }
}
