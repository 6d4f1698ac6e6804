import ArgumentParser
import DataParallel
import FoundationEssentials
import Glibc
import Kernels
import Support
import Training

struct Environment: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "env", abstract: "What this host, its libraries and settings are, for a bug report.",
        discussion: """
            Of this host; into a file; and with the plainest vector level:
              ./launch.sh env
              ./launch.sh env > report.txt
              DENSENET_SIMD=default ./launch.sh env
            """)

    func run() throws {
        try onOneProcess {
            for (name, value) in host + memory + libraries + settings {
                Console.say("\(name.padding(to: 16)) \(value)")
            }
        }
    }

    private var host: [(String, String)] {
        var system = utsname()
        uname(&system)
        let release = withUnsafeBytes(of: &system.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let machine = withUnsafeBytes(of: &system.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let topology = HostTopology()
        return [
            ("version", Densenet.configuration.version),
            ("system", "\(distribution), kernel \(release), \(machine)"),
            ("CPU", processorName()),
            (
                "vector level",
                "\(VectorLevel.current); this CPU's best is \(VectorLevel.best), this build has "
                    + VectorLevel.allCases.map(\.description).joined(separator: ", ")
            ),
            (
                "cores",
                "\(topology.cores) for ranks, in \(counted(topology.caches.count, "L3 cache")) and "
                    + "\(counted(topology.nodes.count, "NUMA domain")); \(WorkerPool.allowedCores) processors allowed of "
                    + "\(sysconf(Int32(_SC_NPROCESSORS_ONLN))); binding from "
                    + (topology.first.map { "processor \($0)" } ?? "none")
            ),
            (
                "shared memory",
                "ranks \(MPIEnvironment.ranksMayReadMemory ? "may" : "may not") read each other's (process_vm_readv)"
            ),
        ]
    }

    private var memory: [(String, String)] {
        let present = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        let temporary = variable("TMPDIR") ?? "/tmp"
        return [
            ("memory", "\(present >> 20) MiB, of which \(memoryOfHost() >> 20) may be used"),
            ("/dev/shm", room(in: "/dev/shm")),
            ("temporary files", "\(temporary), \(room(in: temporary))"),
        ]
    }

    private var libraries: [(String, String)] {
        [("MPI", MPIEnvironment.libraryVersion), ("OpenBLAS", OpenBLAS.configuration)]
    }

    /// The limits of this process, and the variables that change what this program and its libraries do.
    private var settings: [(String, String)] {
        let limits: [(String, Int32, rlim_t, String)] = [
            ("open files", Int32(RLIMIT_NOFILE.rawValue), 1, ""),
            ("processes", Int32(__RLIMIT_NPROC.rawValue), 1, ""),
            ("address space", Int32(RLIMIT_AS.rawValue), 1024, " KiB"),
            ("data", Int32(RLIMIT_DATA.rawValue), 1024, " KiB"),
            ("stack", Int32(RLIMIT_STACK.rawValue), 1024, " KiB"),
            ("locked memory", Int32(__RLIMIT_MEMLOCK.rawValue), 1024, " KiB"),
        ]
        let words = limits.map { name, resource, unit, suffix in
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(resource), &limit)
            // No limit is all ones.
            return "\(name) " + (limit.rlim_cur == .max ? "unlimited" : "\(limit.rlim_cur / unit)\(suffix)")
        }
        let prefixes = ["DENSENET_", "OMPI_MCA_", "OPENBLAS_", "OMP_", "MALLOC_", "SLURM_JOB_", "SLURM_NTASKS", "LD_"]
        let variables = ProcessInfo.processInfo.environment.sorted { $0.key < $1.key }.filter { name, _ in
            prefixes.contains { name.hasPrefix($0) }
        }
        return [("limits", words.joined(separator: ", "))] + variables.map { ($0.key, $0.value) }
    }

    private var distribution: String {
        let lines = (FileSystem.contents(ofSystemFile: "/etc/os-release") ?? "").split(separator: "\n")
        let name = lines.first { $0.hasPrefix("PRETTY_NAME=") }?.dropFirst(12)
        return name.map { String($0.filter { $0 != "\"" }) } ?? "Linux"
    }

    /// A line such as `NAME:\tVALUE` of a file of the system.
    private func value(of name: String, in file: String) -> String? {
        let lines = (FileSystem.contents(ofSystemFile: file) ?? "").split(separator: "\n")
        let line = lines.first { $0.hasPrefix(name + ":") }
        return line.map { String($0.dropFirst(name.count + 1).drop { $0 == "\t" || $0 == " " }) }
    }

    private func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    private func room(in folder: String) -> String {
        var status = statvfs()
        guard statvfs(folder, &status) == 0 else { return "cannot be looked at" }
        func mebibytes(_ blocks: fsblkcnt_t) -> UInt { (blocks * status.f_frsize) >> 20 }
        return "\(mebibytes(status.f_bavail)) MiB free of \(mebibytes(status.f_blocks))"
    }
}
