import Glibc
import SystemPackage

/// Checks that there is enough memory: running out would end this process or another one on this host.
///
/// - Parameters:
///   - bytes: what this process is about to allocate.
///   - addressSpace: further bytes that it will reserve but hardly touch; nil to check memory only.
///   - ranks: processes on this host that each need as much.
///   - who: a subject and verb for the message, such as `64 images per rank need`.
///   - advice: how to need less.
/// - Throws: `Failure(.unavailable)` naming what is needed and the limit.
package func requireMemory(
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
            .unavailable, "\(all), \(limit.words); \(advice)\(ranks == 1 ? "" : ", or fewer ranks per host")")
    }
    guard let addressSpace else { return }
    try requireAddressSpace(Int(bytes) + addressSpace, who: who, advice: "\(advice), or raise the limit")
}

/// Checks that this process can map `bytes` of address space, within `ulimit -v`, `ulimit -d` and other limits.
///
/// - Throws: `Failure(.unavailable)` as `requireMemory`.
package func requireAddressSpace(_ bytes: Int, who: String, advice: String) throws(Failure) {
    // Plus a reserve for small allocations.
    let needed = bytes + 32 << 20
    let probe = unsafe mmap(nil, needed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard unsafe probe == MAP_FAILED else {
        unsafe munmap(probe, needed)
        return
    }
    throw Failure(
        .unavailable,
        "\(who) \(needed >> 20) MiB of address space, \(addressSpaceLimit() ?? "the system refuses it"); \(advice)")
}

/// Checks the limit of open files: if it is too low, MPI crashes or hangs at its start.
///
/// - Throws: `Failure(.unavailable)`.
package func requireOpenFiles(_ count: Int) throws(Failure) {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < count else {
        return
    }
    throw Failure(
        .unavailable,
        "MPI and this program need \(count) open files, ulimit -n allows \(limit.rlim_cur); raise the limit")
}

/// Reduces the address space that the process uses, if it is limited. May restart the program; call it first in `main`.
///
/// When loaded, OpenBLAS starts one thread per core, each with a buffer of 128 MiB, and retries forever if it gets
/// none; these threads are not needed here. The C library reserves a heap of 64 MiB per thread. Only environment
/// variables set before the program starts can prevent both.
package func saveAddressSpace() {
    let settings = ["OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"]
    guard addressSpaceLimit() != nil,
        settings.contains(where: { unsafe getenv($0).map { unsafe strcmp($0, "1") } != 0 })
    else {
        return
    }
    for name in settings { unsafe setenv(name, "1", 1) }
    guard let program = try? FileSystem.programFile() else { return }
    unsafe execv(program, CommandLine.unsafeArgv)
}

/// The address space of a thread's stack, in bytes.
package var threadStackBytes: Int {
    var attributes = pthread_attr_t()
    var size = 0
    unsafe pthread_attr_init(&attributes)
    unsafe pthread_attr_getstacksize(&attributes, &size)
    unsafe pthread_attr_destroy(&attributes)
    return size
}

/// Bytes that all processes of this host may use together: its memory, or a control group's limit.
package func memoryOfHost() -> Int { hostLimit().bytes }

/// The peak resident memory of this process, in bytes.
package func peakResidentBytes() -> Int {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss * 1024
}

/// Ends the process with a message if an allocation fails that `requireMemory` did not foresee.
func exitOutOfMemory(_ bytes: Int) -> Never {
    let limit = addressSpaceLimit() ?? hostLimit().words
    var line = "densenet: out of memory: cannot allocate \(bytes) bytes, \(limit); use a smaller batch size\n"
    line.withUTF8 { _ = try? unsafe FileDescriptor.standardError.writeAll($0) }
    // Not `exit`, which waits for OpenBLAS's threads: they may be waiting for memory.
    _exit(Failure.Kind.unavailable.rawValue)
}

/// The memory limit for all processes of this host together, and its source for a message.
private func hostLimit() -> (bytes: Int, words: String) {
    let present = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
    if let limit = MemoryGroup()?.limit, limit.bytes < present {
        return (limit.bytes, "the memory cgroup \(limit.folder) allows \(limit.bytes >> 20)")
    }
    return (present, "this machine has \(present >> 20)")
}

/// The tightest address space limit of this process, for a message; nil if there is none.
private func addressSpaceLimit() -> String? {
    let memory = ProcessMemory.now
    let limits = [("ulimit -v", RLIMIT_AS, memory.mapped), ("ulimit -d", RLIMIT_DATA, memory.writable)]
    let left = limits.compactMap { name, resource, used -> (name: String, limit: Int, left: Int)? in
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0,
            let bytes = Int(exactly: limit.rlim_cur)
        else { return nil }
        return (name, bytes, max(bytes - used, 0))
    }
    return left.min { $0.left < $1.left }.map { "\($0.name) \($0.limit >> 10) leaves \($0.left >> 20) MiB" }
}

/// The memory use of this process, in bytes.
private struct ProcessMemory {
    /// Address space.
    let mapped: Int
    /// Private writable address space.
    let writable: Int
    /// Resident memory without file mappings.
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
