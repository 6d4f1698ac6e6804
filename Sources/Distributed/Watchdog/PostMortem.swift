import Support

/// What the ranks of a job that has ended have left in their heartbeat folder; for the process that started the job.
package enum PostMortem {
    /// Removes the heartbeat folder of a job that did not end well.
    package static func clear(_ folder: String) { HeartbeatFolder(path: folder).clear() }

    /// What the user has not been told yet about the end of a job; a second call returns nothing.
    ///
    /// It is the report of a rank that has left it there (`Watchdog`'s `launcherHost`). Without a report, mpirun was
    /// faster than the ranks: it asks all that are left to stop before it kills them, so those that it did not ask have
    /// died by themselves, and each gives a line such as `rank 1 on node7 died, last seen at step 12 (loss)`.
    ///
    /// - Parameters:
    ///   - isKilled: mpirun says that a signal has ended a rank.
    ///   - isOutOfMemory: the kernel has ended a process for want of memory meanwhile.
    ///   - advice: how the user resumes; the end of each line.
    package static func take(
        from folder: String, isKilled: Bool, isOutOfMemory: Bool = false, advice: String
    ) -> [String] {
        let folder = HeartbeatFolder(path: folder)
        if let report = folder.report {
            folder.markReportShown()
            return report.isEmpty ? [] : [report]
        }
        let last = folder.ranks.compactMap { rank in folder.heartbeat(ofRank: rank).map { (rank, $0) } }
        guard isKilled, last.contains(where: { $0.1.stopSignals > 0 }) else { return [] }
        _ = folder.claimReport("", by: 0)
        let cause = isOutOfMemory ? MemoryKills.words : ""
        return last.filter { $0.1.stopSignals == 0 }
            .map { "rank \($0) on \($1.host) died, last seen at \($1.progress)\(cause); \(advice)" }
    }
}
