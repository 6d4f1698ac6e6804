import Synchronization

/// Where a rank stands.
struct Stage: Equatable {
    /// Collective calls that the rank has begun, and has finished, since its start. All ranks make the same calls in
    /// the same order, so equal numbers mean equal calls.
    var begun = 0
    var finished = 0
    /// The step of the run, counted from 1; 0 before the first.
    var step = 0
    var name = "start"
    /// The how many-th of how many `name`s; 0 where there is only one, or their number is not known.
    var index = 0
    var count = 0
    /// Whether the work between two collective calls writes files and may be slow for a good reason.
    var mayTakeLong = false

    var isWaiting: Bool { begun > finished }

    /// As in `step 12 (gradient bucket 2 of 3)`.
    var words: String {
        let place = name + (index > 0 ? " \(index)" : "") + (count > 0 ? " of \(count)" : "")
        return step > 0 ? "step \(step) (\(place))" : place
    }
}

/// Where this rank's main thread stands, for the process's other threads to read: a few plain stores a collective call,
/// no memory and no call of the system.
package final class StageBoard: Sendable {
    private let begun = Atomic<Int>(0)
    private let finished = Atomic<Int>(0)
    private let step = Atomic<Int>(0)
    private let name = Atomic<UInt>(UInt(bitPattern: ("start" as StaticString).utf8Start))
    private let index = Atomic<Int>(0)
    private let count = Atomic<Int>(0)
    private let mayTakeLong = Atomic<Bool>(false)

    /// A new step begins.
    package func beginStep(_ number: Int) { step.store(number, ordering: .relaxed) }

    /// What the rank does from now on, alone and in its next collective calls.
    ///
    /// - Parameters:
    ///   - name: in the words of a message, for example `gradient bucket`.
    ///   - index: the how many-th of `count`, from 1.
    ///   - mayTakeLong: the other ranks wait longer for a rank that is at work in this stage; for writing large files.
    package func enter(_ name: StaticString, _ index: Int = 0, of count: Int = 0, mayTakeLong: Bool = false) {
        self.name.store(UInt(bitPattern: name.utf8Start), ordering: .relaxed)
        self.index.store(index, ordering: .relaxed)
        self.count.store(count, ordering: .relaxed)
        self.mayTakeLong.store(mayTakeLong, ordering: .relaxed)
    }

    /// A collective call begins; by the main thread alone.
    func beginCall() { begun.store(begun.load(ordering: .relaxed) + 1, ordering: .releasing) }

    /// The collective call that was begun last has ended.
    func endCall() { finished.store(begun.load(ordering: .relaxed), ordering: .releasing) }

    /// Read on another thread while the main thread is at work, it may mix two stages that follow each other; in a rank
    /// that waits, or is stuck, it is exact.
    var stage: Stage {
        let finished = finished.load(ordering: .acquiring)
        return Stage(
            begun: begun.load(ordering: .acquiring), finished: finished, step: step.load(ordering: .relaxed),
            name: String(cString: UnsafePointer<UInt8>(bitPattern: name.load(ordering: .relaxed))!),
            index: index.load(ordering: .relaxed), count: count.load(ordering: .relaxed),
            mayTakeLong: mayTakeLong.load(ordering: .relaxed))
    }
}
