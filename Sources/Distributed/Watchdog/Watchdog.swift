import Glibc
import Support
import Synchronization

/// Ends a job whose ranks wait for each other in vain, and reports which rank is missing.
///
/// Two polling threads per rank. The deadline thread compares the duration of the current collective call with the
/// timeout; it does no file I/O, so nothing can block it. The peer thread writes this rank's heartbeat, checks that its
/// neighbour on the same host is alive, and investigates and reports problems; it may block on the file system, in
/// which case the deadline thread reports without it.
///
/// With one rank there is nothing to watch, and no threads start.
public final class Watchdog: Sendable {
    /// Valid timeouts, in seconds.
    private static let timeouts = 1...1_000_000
    /// Seconds between two polls of a thread.
    private static let pollInterval = 0.25
    /// A poll that is this many seconds late means that the process, perhaps the whole job, was suspended. That time
    /// does not count.
    private static let suspensionThreshold = 2.0
    /// A rank that is writing files may take this many times the timeout, as long as its heartbeat changes.
    private static let writingFactor = 10
    /// Without a shared folder, ranks on different hosts report in rank order, this many seconds apart; from `lastTurn`
    /// on together. The first to report ends the others.
    private static let turnInterval = 0.2
    private static let lastTurn = 10
    /// Seconds from the report to the end of the reporting process: time for the other ranks and the launcher to see
    /// it.
    private static let reporterDelay = 2 * pollInterval
    /// Seconds from the report to the end of the other ranks, so that their end is not mistaken for the fault.
    private static let followerDelay = 8 * pollInterval

    private let rank: Int
    private let peers: [Peer]
    private let pace: HeartbeatPace
    private let timeout: Int
    private let progress: ProgressBeacon
    private let stopSignals: @Sendable () -> Int
    private let report: @Sendable (Failure) -> Void
    private let isReportCollected: Bool
    /// The heartbeat folder and the end of messages; nil before `writeHeartbeats` and after `deregister`.
    private let folder = Mutex<(heartbeats: HeartbeatFolder, advice: String)?>(nil)
    private let hostClaim: ReportClaim
    /// Counts out-of-memory kills where the neighbour runs.
    private let memoryKills: OutOfMemoryKills?

    private let beat = Atomic<Int>(0)
    private let isDeregistered = Atomic<Bool>(false)
    /// How long the current call has waited, in seconds: set by the deadline thread on reaching the timeout, reset to 0
    /// when the call returns. The peer thread investigates, and resets it to 0 if the job need not end.
    private let overdueSeconds = Atomic<Int>(0)
    /// Whether the peer thread has reported, or found another rank's report, and is about to end this process.
    private let hasReported = Atomic<Bool>(false)

    /// Collective (`MPI_Allgather`, `MPI_Allgatherv`, `MPI_Allreduce`). Starts the threads.
    ///
    /// - Parameters:
    ///   - communicator: the ranks to watch.
    ///   - collectiveTimeout: seconds that a collective call may take, counted from this rank's entry; 1 to 1,000,000.
    ///   - stopSignals: returns the number of signals that asked this rank to stop; called on other threads. After the
    ///     second one, deaths are not reported.
    ///   - launcherHost: the host of a launcher that shows the user a rank's report once the job has ended
    ///     (`PostMortem.take`); nil if there is none. Ranks on this host only leave the report in the heartbeat folder,
    ///     since an mpirun that is ending them may not forward their output, as in a SLURM allocation.
    ///   - report: shows a failure to the user; called on one rank, on a thread of the watchdog, before the job ends.
    /// - Throws: on all ranks `Failure(.usage)` if the timeout is out of range, `Failure(.unavailable)` if the system
    ///   refuses a thread.
    public init(
        _ communicator: Communicator, collectiveTimeout: Int, stopSignals: @escaping @Sendable () -> Int,
        launcherHost: String? = nil, report: @escaping @Sendable (Failure) -> Void
    ) throws {
        try communicator.throwOnAllRanks {
            guard Self.timeouts.contains(collectiveTimeout) else {
                throw Failure(
                    .usage, "the collective timeout is \(collectiveTimeout) seconds, expected 1 to 1,000,000")
            }
        }
        rank = communicator.rank
        peers = try Peer.all(of: communicator)
        pace = HeartbeatPace(ranks: peers.count)
        timeout = collectiveTimeout
        progress = communicator.progress
        self.stopSignals = stopSignals
        self.report = report
        isReportCollected = launcherHost == communicator.hostName
        hostClaim = ReportClaim(name: "densenet-\(getppid())-\(peers[0].process)")
        memoryKills = Peer.neighbour(of: rank, among: peers).map { [peers] in OutOfMemoryKills(near: peers[$0].process)
        }
        guard communicator.size > 1 else { return }
        try communicator.throwOnAllRanks {
            try startDetachedThread { self.watchDeadline() }
            try startDetachedThread { self.watchPeers() }
        }
    }

    /// Starts to write this rank's heartbeat to a folder where the other ranks can read it. Not collective.
    ///
    /// - Parameters:
    ///   - path: the folder. Rank 0 creates it; the others use it if they share the file system.
    ///   - advice: how to resume; the end of messages.
    package func writeHeartbeats(to path: String, advice: String) {
        guard peers.count > 1 else { return }
        let heartbeats = HeartbeatFolder(path: path)
        if rank == 0 { mkdir(path, 0o777) }
        folder.withLock {
            $0 = (heartbeats, advice)
            heartbeats.write(ownHeartbeat, ofRank: rank)
        }
    }

    /// Removes this rank's heartbeat, because it is ending cleanly or has reported its error: peers no longer treat its
    /// exit as a death. Its own deadline stays armed. Not collective.
    public func deregister() {
        isDeregistered.store(true, ordering: .sequentiallyConsistent)
        folder.withLock {
            $0?.heartbeats.remove(rank: rank)
            $0 = nil
        }
    }

    private var ownHeartbeat: Heartbeat {
        Heartbeat(
            host: peers[rank].host, process: getpid(), beat: beat.add(1, ordering: .relaxed).newValue,
            stopSignals: stopSignals(), progress: progress.current)
    }

    // MARK: - The deadline thread

    private func watchDeadline() {
        var last = monotonicSeconds()
        var call = 0
        var waited = 0.0
        var limit = Double(timeout)
        /// Seconds since the peer thread was asked to investigate; nil if it was not asked.
        var investigated: Double?
        while true {
            pause(Self.pollInterval)
            let now = monotonicSeconds()
            let elapsed = now - last < Self.pollInterval + Self.suspensionThreshold ? now - last : 0
            last = now
            let current = progress.current
            if !current.isWaiting || current.startedCalls != call {
                (call, waited, limit, investigated) = (current.startedCalls, 0, Double(timeout), nil)
                overdueSeconds.store(0, ordering: .sequentiallyConsistent)
            } else if let seconds = investigated {
                if overdueSeconds.load(ordering: .sequentiallyConsistent) == 0 {
                    (limit, investigated) = (waited + Double(timeout), nil)
                } else if seconds < pace.investigationLimit {
                    investigated = seconds + elapsed
                } else {
                    endJobWithoutPeerThread(waited: Int(waited))
                }
            } else {
                waited += elapsed
                guard waited >= limit else { continue }
                overdueSeconds.store(Int(waited), ordering: .sequentiallyConsistent)
                investigated = 0
            }
        }
    }

    /// For when the peer thread is blocked: reports without heartbeats.
    private func endJobWithoutPeerThread(waited: Int) -> Never {
        guard !hasReported.load(ordering: .sequentiallyConsistent) else { endProcess() }
        let stall = StallReport(rank: rank, peers: peers, progress: progress.current, heartbeats: nil)
        awaitTurn()
        endJob(reporting: stall.message(waited: waited, advice: "the file system does not respond either"), in: nil)
    }

    // MARK: - The peer thread

    private func watchPeers() {
        let neighbour = Peer.neighbour(of: rank, among: peers)
        let launcher = getppid()
        var firstReading: Reading?
        /// The poll that found the current call overdue.
        var overdueSince: Int?
        var knownStopSignals = 0
        for poll in 1... {
            pause(Self.pollInterval)
            // mpirun has died: there is no one to report to, or to end this process.
            if getppid() != launcher { _exit(Failure.Kind.unavailable.rawValue) }
            // Once mpirun has asked a rank to stop it may kill it within a second: the heartbeat has to say so at once.
            let currentStopSignals = stopSignals()
            let isDue = pace.isDue(rank, poll: poll) || currentStopSignals != knownStopSignals
            knownStopSignals = currentStopSignals
            let heartbeats = folder.withLock {
                if isDue { $0?.heartbeats.write(ownHeartbeat, ofRank: rank) }
                return $0?.heartbeats
            }
            if !isDeregistered.load(ordering: .relaxed) {
                if isDue && heartbeats?.report != nil || hostClaim.isTaken { endProcess(reportedByOther: true) }
                if let neighbour, stopSignals() < 2, peers[neighbour].isGone { reportDeath(of: neighbour) }
            }
            let waited = overdueSeconds.load(ordering: .sequentiallyConsistent)
            guard waited > 0 else {
                (firstReading, overdueSince) = (nil, nil)
                continue
            }
            overdueSince = overdueSince ?? poll
            if let reading = firstReading {
                guard poll >= reading.poll + pace.pollsBetweenReadings else { continue }
                reportStall(waited: waited, since: reading)
                (firstReading, overdueSince) = (nil, nil)
            } else if let overdueSince, poll >= overdueSince + pace.pollsBeforeReading(rank) {
                firstReading = Reading(poll: poll, call: progress.current.startedCalls, beats: heartbeats.map(beats))
            }
        }
    }

    /// The first of two readings of all ranks' beats, taken while this rank is waiting in a collective call.
    private struct Reading {
        let poll: Int
        let call: Int
        /// Nil without a folder; nil for a rank without a heartbeat.
        let beats: [Int?]?
    }

    private func beats(in heartbeats: HeartbeatFolder) -> [Int?] {
        peers.indices.map { heartbeats.heartbeat(ofRank: $0)?.beat }
    }

    /// Reports that a process of this host is gone, unless it had removed its heartbeat.
    private func reportDeath(of neighbour: Int) {
        let folder = folder.withLock { $0 }
        let heartbeat = folder?.heartbeats.heartbeat(ofRank: neighbour)
        guard folder == nil || heartbeat != nil else { return }
        let cause = memoryKills?.haveIncreased == true ? OutOfMemoryKills.cause : ""
        let place = heartbeat.map { ", last seen at \($0.progress)" } ?? ""
        let advice = folder.map { "; \($0.advice)" } ?? ""
        endJob(
            reporting: "rank \(neighbour) on \(peers[neighbour].host) died\(place)\(cause)\(advice)",
            in: folder?.heartbeats)
    }

    /// Ends the job unless the call has returned meanwhile or the missing ranks may still be writing files.
    private func reportStall(waited: Int, since reading: Reading) {
        let folder = folder.withLock { $0 }
        let stall = StallReport(
            rank: rank, peers: peers, progress: progress.current, heartbeats: folder?.heartbeats,
            beatsBefore: reading.beats)
        let mayContinue = stall.mayTakeLong && waited < Self.writingFactor * timeout
        if folder == nil { awaitTurn() }
        let current = progress.current
        guard current.isWaiting, current.startedCalls == reading.call, !mayContinue else {
            return overdueSeconds.store(0, ordering: .sequentiallyConsistent)
        }
        let advice =
            folder.map { "\($0.advice), with a longer collective timeout if the missing ranks were only slow" }
            ?? "if the missing ranks were only slow, use a longer collective timeout"
        endJob(reporting: stall.message(waited: waited, advice: advice), in: folder?.heartbeats)
    }

    // MARK: - The end

    private func awaitTurn() { pause(Double(min(rank, Self.lastTurn)) * Self.turnInterval) }

    /// Reports to the user, unless another rank does, and ends this process.
    private func endJob(reporting message: String, in heartbeats: HeartbeatFolder?) -> Never {
        let claim = heartbeats?.claimReport(message, by: rank)
        let isReporter = claim ?? hostClaim.take()
        let isLeftInFolder = claim != nil && isReportCollected
        if isReporter, !isLeftInFolder {
            report(Failure(.unavailable, message))
            if claim != nil { heartbeats?.markReportShown() }
        }
        hasReported.store(true, ordering: .sequentiallyConsistent)
        fflush(nil)
        endProcess(reportedByOther: !isReporter)
    }

    /// Ends this process after a report: the only way in which the watchdog ends a job.
    ///
    /// Uses `_exit` rather than `MPI_Abort`: under `MPI_THREAD_FUNNELED` only the main thread may call MPI, and it is
    /// stuck in a call. mpirun ends all ranks when one exits without `MPI_Finalize`. Other launchers, such as srun
    /// without `--kill-on-bad-exit`, do not; but the next time that a rank looks it sees the report, or the claim on
    /// its host, and ends here too.
    private func endProcess(reportedByOther: Bool = false) -> Never {
        pause(reportedByOther ? Self.followerDelay : Self.reporterDelay)
        _exit(Failure.Kind.unavailable.rawValue)
    }
}

private func pause(_ seconds: Double) { usleep(UInt32(seconds * 1e6)) }

/// Runs `body` on a new detached thread.
///
/// - Throws: `Failure(.unavailable)` if the system refuses it.
private func startDetachedThread(_ body: @escaping @Sendable () -> Void) throws {
    pthread_detach(try startThread(refusal: "cannot start a thread of the watchdog", body))
}
