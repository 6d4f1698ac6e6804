/// The rows of a panel layout as one pass can divide them: runs of several rows, then the remaining rows singly.
package struct RowUnits {
    package let height: Int
    private let perRun: Int
    private let runs: Int

    /// - Parameter runs: the rows from the top that go in runs of `perRun`; by default as many as there are whole runs.
    package init(height: Int, inRunsOf perRun: Int = 1, rows runs: Int? = nil) {
        self.height = height
        self.perRun = perRun
        self.runs = (runs ?? height) / perRun
    }

    package var count: Int { runs + height - runs * perRun }

    /// The first row of a unit; `height` after the last.
    package func firstRow(ofUnit unit: Int) -> Int { unit <= runs ? unit * perRun : unit + runs * (perRun - 1) }
}

/// Divides a pass into tasks for a `WorkerPool`: runs of groups or, where groups are few, runs of a group's rows.
///
/// Depends on the shape alone, never on the number of threads, since each task has sums of its own. These cost the more
/// the smaller a task is: 16 tasks may be small, more only where they are larger.
package struct TaskPartition {
    /// Tasks of a pass at most.
    package static let maximumCount = 64
    /// Tasks that may be as small as whole groups, or as 128 pixels.
    private static let fewTasks = 16

    private let groups: Int
    private let units: RowUnits
    /// Parts of each group; 1 if tasks are of whole groups.
    private let parts: Int
    package let count: Int

    /// - Parameters:
    ///   - units: where a group may be cut.
    ///   - lanes: of a row.
    ///   - most: tasks at most, for the memory of their sums.
    package init(groups: Int, units: RowUnits, lanes: Int, most: Int = maximumCount) {
        self.groups = groups
        self.units = units
        let wanted = Self.bound(groups: groups, height: units.height, lanes: lanes, most: most)
        guard groups > 0, groups < wanted else {
            // As few as have their longest task as short.
            parts = 1
            count = groups == 0 ? 0 : groups.dividedUp(by: groups.dividedUp(by: wanted))
            return
        }
        let cuts = min(units.count, wanted / groups)
        parts = units.count.dividedUp(by: units.count.dividedUp(by: cuts))
        count = groups * parts
    }

    /// The number of tasks that no pass over as many groups, or fewer, has more of.
    package static func bound(groups: Int, height: Int, lanes: Int, most: Int = maximumCount) -> Int {
        let pixels = groups * height * lanes
        let few = min(fewTasks, max(groups, pixels / 128))
        return min(most, max(few, max(min(32, pixels / 512), min(maximumCount, pixels / 2048))))
    }

    /// The groups of a task.
    package func groups(of task: Int) -> Range<Int> {
        guard parts == 1 else { return task / parts..<task / parts + 1 }
        return task * groups / count..<(task + 1) * groups / count
    }

    /// The rows of each of its groups.
    package func rows(of task: Int) -> Range<Int> {
        let part = task % parts
        return units.firstRow(
            ofUnit: part * units.count / parts)..<units.firstRow(ofUnit: (part + 1) * units.count / parts)
    }
}

extension Int {
    fileprivate func dividedUp(by divisor: Int) -> Int { (self + divisor - 1) / divisor }
}
