import DataParallel
import Support

/// Steps of one network on several numbers of ranks: of the same global batch (strong scaling), and of the same batch a
/// rank (weak scaling).
package struct Scaling: Sendable {
    package struct Row: Sendable, Encodable {
        package let ranks, batchSize: Int
        package let stepSeconds: [Double]
        /// Of the median.
        package let imagesPerSecond: Double
        /// Images/s against those of the first row, and that against the ranks of both, 0 to 1.
        package let speedup, efficiency: Double
    }

    package let strong, weak: [Row]

    /// Each number of ranks has its turn twice, from the fewest to the most, so that a machine that changes meanwhile
    /// changes for all. The other ranks sleep. Collective.
    ///
    /// - Parameters:
    ///   - configuration: `threads` are each rank's at any number of ranks. The batch is that of strong scaling; weak
    ///     scaling shares it over the most ranks, and gives fewer as much each.
    ///   - counts: numbers of ranks, ascending.
    /// - Throws: on all ranks the failure of the first rank that has one; `Failure(.usage)` where the batch has not an
    ///   image for each rank, or ranks are missing.
    package init(_ configuration: Benchmark.Configuration, counts: [Int], world: Communicator) throws {
        let most = counts[counts.count - 1]
        try world.throwOnAllRanks {
            guard most <= world.size else {
                throw Failure(.usage, "`scaling` wants \(most) ranks, and there are \(world.size); start as many")
            }
            guard configuration.batchSize >= most else {
                throw Failure(
                    .usage, "`batchSize` \(configuration.batchSize) has not an image for each of the \(most) ranks")
            }
        }
        let whole = configuration.batchSize
        let share = whole / most
        let cases = counts.map { ($0, whole) } + counts.map { ($0, share * $0) }
        var seconds: [[Int]: [Double]] = [:]
        for _ in 0..<2 {
            var done: Set<[Int]> = []
            for (ranks, batchSize) in cases where done.insert([ranks, batchSize]).inserted {
                var part = configuration
                (part.batchSize, part.steps) = (batchSize, (configuration.steps + 1) / 2)
                seconds[[ranks, batchSize], default: []] += try Self.time(part, on: ranks, of: world)
            }
        }
        func rows(_ cases: some Sequence<(Int, Int)>) -> [Row] {
            var rows: [Row] = []
            for (ranks, batchSize) in cases {
                let steps = seconds[[ranks, batchSize]]!
                let rate = Double(batchSize) / steps.median
                let first = rows.first
                let speedup = rate / (first?.imagesPerSecond ?? rate)
                rows.append(
                    Row(
                        ranks: ranks, batchSize: batchSize, stepSeconds: steps, imagesPerSecond: rate, speedup: speedup,
                        efficiency: speedup * Double(first?.ranks ?? ranks) / Double(ranks)))
            }
            return rows
        }
        strong = rows(cases.prefix(counts.count))
        weak = rows(cases.suffix(counts.count))
    }

    /// Rank zero's seconds of each step, on all ranks. Collective.
    private static func time(
        _ configuration: Benchmark.Configuration, on ranks: Int, of world: Communicator
    ) throws -> [Double] {
        let part = try world.first(ranks)
        let own = Result {
            try part.map { part in
                let seconds = try Benchmark(configuration, communicator: part).timeSteps()
                // Nothing else would, and each number of ranks has memory of its own.
                try part.freeUnusedWindows()
                return seconds
            }
        }
        try world.sleepUntilAllArrive()
        let seconds = try world.throwOnAllRanks { try own.get() }
        return try world.broadcast(seconds ?? [Double](repeating: 0, count: configuration.steps), from: 0)
    }

    /// A table of both.
    package var table: String {
        func lines(_ title: String, _ rows: [Row]) -> [String] {
            [title, "  ranks    batch  ms a step  images/s  speedup  efficiency"]
                + rows.map { row in
                    Double(row.ranks).formatted(places: 0, width: 7)
                        + Double(row.batchSize).formatted(places: 0, width: 9)
                        + (row.stepSeconds.median * 1e3).formatted(places: 1, width: 11)
                        + row.imagesPerSecond.formatted(places: 1, width: 10)
                        + row.speedup.formatted(places: 2, width: 9) + row.efficiency.formatted(places: 2, width: 12)
                }
        }
        return
            (lines("strong scaling: the same batch", strong) + [""]
            + lines("weak scaling: the same batch a rank", weak)).joined(separator: "\n")
    }
}
