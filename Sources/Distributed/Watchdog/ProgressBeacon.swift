import Synchronization

/// What a rank is doing at one moment.
struct RankProgress: Equatable, CustomStringConvertible {
    /// Collective calls that the rank has entered, and has returned from, since its start. All ranks make the same
    /// calls in the same order, so equal numbers mean the same call.
    var startedCalls = 0
    var finishedCalls = 0
    /// The step of the run, counted from 1; 0 before the first.
    var step = 0
    var activity = "start"
    /// 1-based index within the `count` activities of this name; both 0 where there is only one, `count` 0 where their
    /// number is not known.
    var index = 0
    var count = 0
    /// Whether the activity writes files and may be slow for a good reason.
    var mayTakeLong = false

    var isWaiting: Bool { startedCalls > finishedCalls }

    /// As in `step 12 (gradient bucket 2 of 3)`.
    var description: String {
        let place = activity + (index > 0 ? " \(index)" : "") + (count > 0 ? " of \(count)" : "")
        return step > 0 ? "step \(step) (\(place))" : place
    }
}

/// Publishes what this rank's main thread is doing, for the watchdog's threads to read: a few plain stores per
/// collective call, no allocation and no system call.
package final class ProgressBeacon: Sendable {
    private let startedCalls = Atomic<Int>(0)
    private let finishedCalls = Atomic<Int>(0)
    private let step = Atomic<Int>(0)
    // Points to a constant of the program.
    nonisolated(unsafe) private let activity = Atomic<UnsafePointer<UInt8>>(("start" as StaticString).utf8Start)
    private let index = Atomic<Int>(0)
    private let count = Atomic<Int>(0)
    private let mayTakeLong = Atomic<Bool>(false)

    /// A new step begins. Not collective.
    ///
    /// - Parameter number: counted from 1.
    package func beginStep(_ number: Int) { step.store(number, ordering: .relaxed) }

    /// Sets what the rank does from now on, alone and in its next collective calls. Not collective.
    ///
    /// - Parameters:
    ///   - activity: as a message should name it, for example `gradient bucket`.
    ///   - index: 1-based index within `count`; 0 if there is only one.
    ///   - count: how many there are; 0 if that is not known.
    ///   - mayTakeLong: the other ranks wait longer for a rank that works on this activity; for writing large files.
    package func enter(_ activity: StaticString, _ index: Int = 0, of count: Int = 0, mayTakeLong: Bool = false) {
        self.activity.store(activity.utf8Start, ordering: .relaxed)
        self.index.store(index, ordering: .relaxed)
        self.count.store(count, ordering: .relaxed)
        self.mayTakeLong.store(mayTakeLong, ordering: .relaxed)
    }

    /// A collective call begins; only on the main thread.
    func beginCall() { startedCalls.store(startedCalls.load(ordering: .relaxed) + 1, ordering: .releasing) }

    /// The collective call in progress has returned; only on the main thread.
    func endCall() { finishedCalls.store(startedCalls.load(ordering: .relaxed), ordering: .releasing) }

    /// Read on another thread while the main thread works, it may mix two activities that follow each other; for a rank
    /// that waits, or is stuck, it is exact.
    var current: RankProgress {
        let finished = finishedCalls.load(ordering: .acquiring)
        return RankProgress(
            startedCalls: startedCalls.load(ordering: .acquiring), finishedCalls: finished,
            step: step.load(ordering: .relaxed), activity: String(cString: activity.load(ordering: .relaxed)),
            index: index.load(ordering: .relaxed), count: count.load(ordering: .relaxed),
            mayTakeLong: mayTakeLong.load(ordering: .relaxed))
    }
}
