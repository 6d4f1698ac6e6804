import Synchronization

/// What a rank is doing at a moment.
struct RankProgress: Equatable, CustomStringConvertible {
    /// The number of collective calls that the rank has entered and returned from. All ranks make the same calls in the
    /// same order, so equal numbers mean the same call.
    var startedCalls = 0
    var finishedCalls = 0
    /// The step of the run, counted from 1; 0 before the first.
    var step = 0
    var activity = "start"
    /// 1-based index within the `count` activities of this name. Both are 0 if there is only one; `count` is 0 if it is
    /// not known.
    var index = 0
    var count = 0
    /// Whether the activity writes files and may legitimately be slow.
    var mayTakeLong = false

    var isWaiting: Bool { startedCalls > finishedCalls }

    /// Such as `step 12 (gradient bucket 2 of 3)`.
    var description: String {
        let place = activity + (index > 0 ? " \(index)" : "") + (count > 0 ? " of \(count)" : "")
        return step > 0 ? "step \(step) (\(place))" : place
    }
}

/// Publishes what this rank's main thread is doing to the watchdog's threads, at the cost of a few plain stores per
/// collective call: no allocation, no system call.
package final class ProgressBeacon: Sendable {
    private let startedCalls = Atomic<Int>(0)
    private let finishedCalls = Atomic<Int>(0)
    private let step = Atomic<Int>(0)
    // Points to a string constant.
    nonisolated(unsafe) private let activity = Atomic<UnsafePointer<UInt8>>(("start" as StaticString).utf8Start)
    private let index = Atomic<Int>(0)
    private let count = Atomic<Int>(0)
    private let mayTakeLong = Atomic<Bool>(false)

    /// Begins a step. Not collective.
    ///
    /// - Parameter number: counted from 1.
    package func beginStep(_ number: Int) { step.store(number, ordering: .relaxed) }

    /// Sets what the rank is doing from now on, in collective calls or not. Not collective.
    ///
    /// - Parameters:
    ///   - activity: its name in messages, such as `gradient bucket`.
    ///   - index: 1-based index within `count`; 0 if there is only one.
    ///   - count: the number of such activities; 0 if it is not known.
    ///   - mayTakeLong: whether the other ranks should wait longer, as for the writing of large files.
    package func enter(_ activity: StaticString, _ index: Int = 0, of count: Int = 0, mayTakeLong: Bool = false) {
        self.activity.store(activity.utf8Start, ordering: .relaxed)
        self.index.store(index, ordering: .relaxed)
        self.count.store(count, ordering: .relaxed)
        self.mayTakeLong.store(mayTakeLong, ordering: .relaxed)
    }

    /// Records that a collective call begins. Main thread only.
    func beginCall() { startedCalls.store(startedCalls.load(ordering: .relaxed) + 1, ordering: .releasing) }

    /// Records that the collective call has returned. Main thread only.
    func endCall() { finishedCalls.store(startedCalls.load(ordering: .relaxed), ordering: .releasing) }

    /// The current state. Read from another thread it may mix two successive activities; it is exact if the main thread
    /// is waiting or stuck.
    var current: RankProgress {
        let finished = finishedCalls.load(ordering: .acquiring)
        return RankProgress(
            startedCalls: startedCalls.load(ordering: .acquiring), finishedCalls: finished,
            step: step.load(ordering: .relaxed), activity: String(cString: activity.load(ordering: .relaxed)),
            index: index.load(ordering: .relaxed), count: count.load(ordering: .relaxed),
            mayTakeLong: mayTakeLong.load(ordering: .relaxed))
    }
}
