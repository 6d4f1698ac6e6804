import Glibc
import SystemPackage

/// Refuses what memory could not hold; to find out by trying would end this process, or another one of this host.
///
/// - Parameters:
///   - bytes: what this process is about to ask for, beside what it has.
///   - addressSpace: bytes that it will reserve beside, and hardly touch; nil where `bytes` is only a part of it all.
///   - ranks: the processes of this host that need as much each.
///   - who: a subject and its verb, such as `64 images a rank need`.
///   - advice: what makes it less.
/// - Throws: `Failure(.unavailable)` saying what is needed and which limit is in the way.
package func demandMemory(
    _ bytes: Double, addressSpace: Int? = 0, ranks: Int = 1, who: String, advice: String
) throws(Failure) {
    let needed = bytes + Double(ProcessMemory.now.held)
    let limit = hostLimit()
    guard needed * Double(ranks) <= Double(limit.bytes) else {
        let each = "\(who) \(mebibytes(needed)) MiB"
        let all =
            ranks == 1
            ? each + " of memory"
            : "\(ranks) ranks on this host need \(mebibytes(needed * Double(ranks))) MiB of memory (\(each))"
        throw Failure(
            .unavailable, "\(all), \(limit.words); \(advice)\(ranks == 1 ? "" : ", or fewer ranks on a host")")
    }
    guard let addressSpace else { return }
    try demandAddressSpace(Int(bytes) + addressSpace, who: who, advice: "\(advice), or raise the limit")
}

/// Refuses what this process could not map, be it for `ulimit -v`, for `ulimit -d` or for another rule of the system.
///
/// - Throws: `Failure(.unavailable)` as `demandMemory`.
package func demandAddressSpace(_ bytes: Int, who: String, advice: String) throws(Failure) {
    // Small things, which nobody counts, have to find room too.
    let needed = bytes + 32 << 20
    let probe = mmap(nil, needed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard probe == MAP_FAILED else {
        munmap(probe, needed)
        return
    }
    throw Failure(
        .unavailable,
        "\(who) \(needed >> 20) MiB of address space, \(addressSpaceLimit() ?? "the system refuses them"); \(advice)")
}

/// Refuses a limit of open files with which MPI's start ends by a signal, or not at all.
///
/// - Throws: `Failure(.unavailable)`.
package func demandOpenFiles(_ count: Int) throws(Failure) {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < count else { return }
    throw Failure(
        .unavailable,
        "MPI and this program need \(count) open files, ulimit -n allows \(limit.rlim_cur); raise the limit")
}

/// Makes do with less address space where it is limited. To be called first of all; may start the program anew.
///
/// OpenBLAS starts a thread a core when it is loaded, each with a buffer of 128 MiB, and one that gets no buffer tries
/// for ever; they are not needed here. The C library reserves a heap of 64 MiB for each thread. Only the environment
/// that a program is started with can forbid both.
package func saveAddressSpace() {
    let settings = ["OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"]
    guard addressSpaceLimit() != nil, settings.contains(where: { getenv($0).map { strcmp($0, "1") } != 0 }) else {
        return
    }
    for name in settings { setenv(name, "1", 1) }
    guard let program = try? FileSystem.programFile() else { return }
    execv(program, CommandLine.unsafeArgv)
}

/// Bytes of address space that a thread's stack takes.
package var threadStackBytes: Int {
    var attributes = pthread_attr_t()
    var size = 0
    pthread_attr_init(&attributes)
    pthread_attr_getstacksize(&attributes, &size)
    pthread_attr_destroy(&attributes)
    return size
}

/// Bytes that all processes of this host may have together: its memory, or a control group's limit.
package func memoryOfHost() -> Int { hostLimit().bytes }

/// The most memory that this process has had in use, in bytes.
package func peakResidentBytes() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss * 1024
}

/// Ends the process, with a line, when memory is refused that nobody has foreseen.
func endOutOfMemory(_ bytes: Int) -> Never {
    let limit = addressSpaceLimit() ?? hostLimit().words
    var line = "densenet: out of memory: \(bytes) bytes are refused, \(limit); use a smaller batch size\n"
    line.withUTF8 { _ = try? FileDescriptor.standardError.writeAll($0) }
    // Not `exit`, which waits for OpenBLAS's threads; those may be waiting for memory.
    _exit(Failure.Kind.unavailable.rawValue)
}

/// What all processes of this host may have together, and who says so.
private func hostLimit() -> (bytes: Int, words: String) {
    let present = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
    if let limit = MemoryGroup()?.limit, limit.bytes < present {
        return (limit.bytes, "the memory cgroup \(limit.folder) allows \(limit.bytes >> 20)")
    }
    return (present, "this machine has \(present >> 20)")
}

/// The limit of this process that leaves the least; nil where none is set.
private func addressSpaceLimit() -> String? {
    let memory = ProcessMemory.now
    let limits = [("ulimit -v", RLIMIT_AS, memory.mapped), ("ulimit -d", RLIMIT_DATA, memory.writable)]
    let left = limits.compactMap { name, resource, used -> (name: String, limit: Int, left: Int)? in
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, let bytes = Int(exactly: limit.rlim_cur)
        else { return nil }
        return (name, bytes, max(bytes - used, 0))
    }
    return left.min { $0.left < $1.left }.map { "\($0.name) \($0.limit >> 10) leaves \($0.left >> 20) MiB" }
}

/// Memory of this process in bytes.
private struct ProcessMemory {
    /// Address space.
    let mapped: Int
    /// The part of it that only this process can write.
    let writable: Int
    /// Memory of its own, in no file.
    let held: Int

    static var now: ProcessMemory {
        let pages = (FileSystem.contents(ofSystemFile: "/proc/self/statm") ?? "").split(separator: " ").map {
            Int($0) ?? 0
        }
        guard pages.count >= 6 else { return ProcessMemory(mapped: 0, writable: 0, held: 0) }
        let page = sysconf(Int32(_SC_PAGESIZE))
        return ProcessMemory(mapped: pages[0] * page, writable: pages[5] * page, held: (pages[1] - pages[2]) * page)
    }
}

private func mebibytes(_ bytes: Double) -> Int { Int(bytes / 0x1p20) }
