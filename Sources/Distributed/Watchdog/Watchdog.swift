import Glibc
import Support
import Synchronization

/// Ends a job whose ranks wait for each other in vain, and says which one is missing.
///
/// Two threads of each rank look at it several times a second. One holds collective calls against the deadline, and
/// nothing can hold it up. The other writes this rank's record, looks whether its neighbour on the same host is alive,
/// and finds out and tells what has happened; a file system that hangs may hang it.
///
/// A world of one has no use for it and gets no threads.
package final class Watchdog: Sendable {
    let peers: [Peer]
    let rank: Int
    let timeout: Int
    let stages: StageBoard
    private let signals: @Sendable () -> Int
    private let report: @Sendable (Failure) -> Void
    /// What a message ends with, and the records; nil before the run folder is there, and again when the rank leaves.
    private let folder = Mutex<(records: RankRecords, advice: String)?>(nil)
    private let beat = Atomic<Int>(0)
    private let hasLeft = Atomic<Bool>(false)
    /// Seconds that a call has waited when the deadline has passed and the other thread shall look at it; 0 when it
    /// need not.
    private let overdue = Atomic<Int>(0)
    private let isTold = Atomic<Bool>(false)
    /// Whether the kernel ends processes where the neighbour on this host is.
    private let memoryKills: MemoryKills?
    /// Whether launch.sh runs on this host. It reads the report when mpirun has ended, and tells the user.
    private let isReportRead: Bool

    /// Seconds between two looks.
    static let interval = 0.25
    /// A look that comes so many seconds late shows that this process, perhaps the whole job, was stopped. That time
    /// does not count.
    private static let lateness = 2.0
    /// Rank zero may take so many times the timeout to write files, as long as it is seen to be alive.
    private static let patience = 10
    /// The host that launch.sh has started mpirun on.
    private static let launcher = "DENSENET_LAUNCHER"

    /// Collective. The threads start before the first call that could wait too long.
    ///
    /// - Parameters:
    ///   - timeout: seconds that a collective call may take, from this rank's entry on.
    ///   - signals: how many signals have asked this rank to stop.
    ///   - report: tells the user of a failure; called on one rank, on a thread of the watchdog.
    /// - Throws: `Failure(.usage)` for a timeout that is none, `.unavailable` if the system refuses a thread.
    package init(
        _ communicator: Communicator, timeout: Int, signals: @escaping @Sendable () -> Int,
        report: @escaping @Sendable (Failure) -> Void
    ) throws {
        try communicator.agree {
            guard (1...1_000_000).contains(timeout) else {
                throw Failure(.usage, "--collective-timeout is \(timeout), expected 1 to 1,000,000 seconds")
            }
        }
        rank = communicator.rank
        stages = communicator.stages
        isReportRead = getenv(Self.launcher).map { String(cString: $0) == communicator.hostName } ?? false
        peers = try Peer.all(of: communicator)
        (self.timeout, self.signals, self.report) = (timeout, signals, report)
        memoryKills = Peer.neighbour(of: rank, among: peers).map { [peers] in MemoryKills(near: peers[$0].process) }
        guard communicator.size > 1 else { return }
        try communicator.agree {
            try startThread { self.watchDeadline() }
            try startThread { self.watchRanks() }
        }
    }

    /// From now on each rank keeps its record in a folder, where the others can see it.
    ///
    /// - Parameters:
    ///   - folder: made by rank zero; the others find it where they share its file system.
    ///   - advice: how the user goes on; the end of messages.
    package func keepRecords(in folder: String, advice: String) {
        guard peers.count > 1 else { return }
        let records = RankRecords(folder: folder)
        if rank == 0 { mkdir(folder, 0o777) }
        self.folder.withLock {
            $0 = (records, advice)
            records.write(ownRecord, of: rank)
        }
    }

    /// This rank ends in good order, or has told its error: from now on nobody will miss it. Its deadline stays.
    package func leave() {
        hasLeft.store(true, ordering: .sequentiallyConsistent)
        folder.withLock {
            $0?.records.remove(rank)
            $0 = nil
        }
    }

    private var ownRecord: RankRecord {
        RankRecord(
            host: peers[rank].host, process: getpid(), beat: beat.add(1, ordering: .relaxed).newValue,
            signals: signals(), stage: stages.stage)
    }

    // MARK: - The deadline

    private func watchDeadline() {
        var call = 0
        var waited = 0.0
        var limit = Double(timeout)
        var last = monotonicSeconds()
        while true {
            usleep(UInt32(Self.interval * 1e6))
            let now = monotonicSeconds()
            let elapsed = now - last
            last = now
            let stage = stages.stage
            if !stage.isWaiting || stage.begun != call {
                (call, waited, limit) = (stage.begun, 0, Double(timeout))
            } else if elapsed < Self.interval + Self.lateness {
                waited += elapsed
            }
            if waited >= limit {
                askAndEnd(waited: Int(waited))
                // The call has ended after all, or rank zero may go on writing.
                limit = waited + Double(timeout)
                last = monotonicSeconds()
            }
        }
    }

    /// Lets the other thread find out what has happened, and ends this process if it should end and that thread cannot.
    ///
    /// Returns if there is no reason to end.
    private func askAndEnd(waited: Int) {
        overdue.store(waited, ordering: .sequentiallyConsistent)
        // Two looks at the records, and the turn of every rank to speak, take no longer than this.
        let deadline = monotonicSeconds() + 8
        while monotonicSeconds() < deadline {
            usleep(100_000)
            if overdue.load(ordering: .sequentiallyConsistent) == 0 { return }
        }
        guard !isTold.load(ordering: .sequentiallyConsistent) else { endAsTold() }
        let message = Whereabouts(of: self, records: nil).message(
            waited: waited, advice: "the run folder does not answer either")
        waitForTurn()
        let isOurs = claimReportOnHost()
        if isOurs { report(Failure(.unavailable, message)) }
        endAsTold(byOther: !isOurs)
    }

    // MARK: - The other ranks

    private func watchRanks() {
        let neighbour = Peer.neighbour(of: rank, among: peers)
        let launcher = getppid()
        while true {
            usleep(UInt32(Self.interval * 1e6))
            // Nobody hears the ranks of a launcher that is gone, or could end them.
            if getppid() != launcher { _exit(Failure.Kind.unavailable.rawValue) }
            let records = folder.withLock {
                $0?.records.write(ownRecord, of: rank)
                return $0?.records
            }
            if !hasLeft.load(ordering: .relaxed), records?.reported != nil || isReportedOnHost {
                endAsTold(byOther: true)
            }
            if let neighbour, !hasLeft.load(ordering: .relaxed), signals() < 2, peers[neighbour].isGone {
                tellDeath(of: neighbour)
            }
            let waited = overdue.load(ordering: .sequentiallyConsistent)
            if waited > 0 { tellIfHanging(waited: waited) }
        }
    }

    /// A process of this host is gone: it has died, unless it has taken its record with it.
    private func tellDeath(of neighbour: Int) {
        let folder = folder.withLock { $0 }
        let record = folder?.records.read(neighbour)
        guard folder == nil || record != nil else { return }
        let cause = memoryKills?.haveGrown == true ? MemoryKills.words : ""
        let place = record.map { ", last seen at \($0.stage.words)" } ?? ""
        let advice = folder.map { "; \($0.advice)" } ?? ""
        tell("rank \(neighbour) on \(peers[neighbour].host) died\(place)\(cause)\(advice)", folder?.records)
    }

    private func tellIfHanging(waited: Int) {
        let call = stages.stage.begun
        let folder = folder.withLock { $0 }
        let before = folder.map { folder in peers.indices.map { folder.records.read($0)?.beat } }
        // A rank whose beat stands still meanwhile does not run. Ours must go on: others may be looking at it.
        for _ in 0..<8 {
            usleep(UInt32(Self.interval * 1e6))
            self.folder.withLock { $0?.records.write(ownRecord, of: rank) }
        }
        let missing = Whereabouts(of: self, records: folder?.records, beatsBefore: before)
        let isPatient = missing.mayTakeLong && waited < Self.patience * timeout
        if folder == nil { waitForTurn() }
        let stage = stages.stage
        guard stage.isWaiting, stage.begun == call, !isPatient else {
            return overdue.store(0, ordering: .sequentiallyConsistent)
        }
        let advice =
            folder.map { "\($0.advice), with a longer --collective-timeout if it was only slow" }
            ?? "if it was only slow, give a longer --collective-timeout"
        tell(missing.message(waited: waited, advice: advice), folder?.records)
    }

    /// Whether this process is the one of its host that tells the user, where no folder can decide it: a name without a
    /// file is taken, which the system gives back when the process ends.
    private func claimReportOnHost() -> Bool {
        let descriptor = reportSocket()
        return withReportAddress { bind(descriptor, $0, $1) == 0 || errno != EADDRINUSE }
    }

    private var isReportedOnHost: Bool {
        let descriptor = reportSocket()
        defer { close(descriptor) }
        return withReportAddress { connect(descriptor, $0, $1) == 0 }
    }

    private func reportSocket() -> Int32 {
        socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    }

    private func withReportAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        let name = "densenet-\(getppid())-\(peers[0].process)"
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // The leading zero makes it a name without a file.
        withUnsafeMutableBytes(of: &address.sun_path) { $0[1...].copyBytes(from: name.utf8) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.utf8.count)
        return withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    /// Ranks of several hosts that cannot agree on who speaks do it in their order, and the first ends the others.
    private func waitForTurn() { usleep(UInt32(min(rank, 10)) * 200_000) }

    /// Tells the user, unless another rank does, and ends this process.
    private func tell(_ message: String, _ records: RankRecords?) -> Never {
        let isClaimed = records?.claimReport(message, by: rank)
        let isOurs = isClaimed ?? claimReportOnHost()
        // An mpirun that ends the ranks may end without having read what they said, as it does in an allocation of
        // SLURM.
        if isOurs, isClaimed == nil || !isReportRead {
            report(Failure(.unavailable, message))
            if isClaimed != nil { records?.forgetWords() }
        }
        isTold.store(true, ordering: .sequentiallyConsistent)
        fflush(nil)
        endAsTold(byOther: !isOurs)
    }

    /// Ends this process after the user has been told why: the one way in which the watchdog ends a job.
    ///
    /// `MPI_Abort` is not for us: under `MPI_THREAD_FUNNELED` the main thread alone may call MPI, and it hangs in a
    /// call. mpirun ends all ranks when one exits without `MPI_Finalize`. Other launchers, such as srun without
    /// `--kill-on-bad-exit`, leave it to the ranks: each sees within a look that somebody has told why, in the report
    /// or else by the name that is taken on its host, and comes here too. Who has told stays for two looks, that the
    /// others see the name and the launcher reads the words; the others end after it, so that nobody takes its end for
    /// the fault.
    private func endAsTold(byOther: Bool = false) -> Never {
        usleep(UInt32((byOther ? 8 : 2) * Self.interval * 1e6))
        _exit(Failure.Kind.unavailable.rawValue)
    }
}

/// Runs `body` on a new thread that nobody waits for.
///
/// - Throws: `Failure(.unavailable)` if the system refuses it.
private func startThread(_ body: @escaping @Sendable () -> Void) throws {
    pthread_detach(try Support.startThread(refusal: "cannot start a thread", body))
}
