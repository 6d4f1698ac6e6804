import Support

/// Finds out from the ranks' heartbeat folder why a job has ended; for the process that launched it.
package enum PostMortem {
    /// Removes the heartbeat folder of a job that did not end cleanly.
    package static func clear(_ folder: String) { HeartbeatFolder(path: folder).clear() }

    /// What the user has not yet been told about the end of a job. A second call returns nothing.
    ///
    /// Usually this is the report that a rank left in the folder (`Watchdog`'s `launcherHost`). Without one, mpirun was
    /// faster than the ranks. It asks the surviving ranks to stop before it kills them, so those that it did not ask
    /// had died; each gives a line such as `rank 1 on node7 died, last seen at step 12 (loss)`.
    ///
    /// - Parameters:
    ///   - isKilled: whether mpirun says that a rank was killed by a signal.
    ///   - isOutOfMemory: whether the kernel's out-of-memory killer has ended a process meanwhile.
    ///   - advice: how to resume; the end of each line.
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
        let cause = isOutOfMemory ? OutOfMemoryKills.cause : ""
        return last.filter { $0.1.stopSignals == 0 }
            .map { "rank \($0) on \($1.host) died, last seen at \($1.progress)\(cause); \(advice)" }
    }
}
