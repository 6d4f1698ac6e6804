import Support

/// Which samples each rank reads in each step: a pure function of seed, epoch, step, rank and world size.
///
/// An epoch is a random order of all samples, divided into global batches, the last of which may be smaller. A global
/// batch is divided into one contiguous part per rank; sizes differ by at most one, larger parts first (8 over 3 ranks
/// = 3 + 3 + 2). So the union over ranks is the same for any world size. Some ranks may have no samples in a small last
/// batch. Where samples are to stay together in units of several, a rank has whole units: those of the batch, from its
/// first sample on, are then the same for any world size too.
public struct Sampler: Sendable {
    /// The number of samples; each is used once per epoch.
    package let sampleCount: Int
    /// Samples per step, over all ranks.
    package let globalBatch: Int
    /// The number of ranks.
    package let worldSize: Int
    let seed: UInt64
    let shuffle: Bool
    /// Samples that stay together on a rank.
    let unit: Int

    /// - Parameters:
    ///   - sampleCount: samples of the set.
    ///   - globalBatch: samples per step over all ranks.
    ///   - worldSize: the number of ranks.
    ///   - seed: what the orders of the epochs are drawn from.
    ///   - shuffle: whether each epoch has a random order of its own; otherwise it is always 0, 1, 2, ….
    ///   - unit: samples that stay together on a rank; the last unit of a batch may be smaller.
    /// - Throws: `Failure(.usage)` if a number is out of range.
    public init(
        sampleCount: Int, globalBatch: Int, worldSize: Int, seed: UInt64, shuffle: Bool, unit: Int = 1
    ) throws {
        guard sampleCount > 0, sampleCount <= Int(Int32.max) else {
            throw Failure(.usage, "\(sampleCount) samples: expected 1 to \(Int32.max)")
        }
        guard globalBatch > 0 else {
            throw Failure(.usage, "a global batch of \(globalBatch) samples: expected 1 or more")
        }
        guard worldSize > 0 else { throw Failure(.usage, "a world size of \(worldSize): expected 1 or more") }
        guard unit > 0 else { throw Failure(.usage, "units of \(unit) samples: expected 1 or more") }
        self.sampleCount = sampleCount
        self.globalBatch = globalBatch
        self.worldSize = worldSize
        self.seed = seed
        self.shuffle = shuffle
        self.unit = unit
    }

    /// The last step may have a smaller batch.
    public var stepsPerEpoch: Int { (sampleCount - 1) / globalBatch + 1 }

    /// The order of the samples in an epoch (counted from 1): each index in `0..<sampleCount` once.
    ///
    /// A Fisher–Yates shuffle in Durstenfeld's form (Knuth, TAOCP vol. 2, algorithm 3.4.2P).
    package func order(epoch: Int) -> [Int32] {
        var order = [Int32](0..<Int32(sampleCount))
        guard shuffle else { return order }
        var random = CounterRandom(.shuffle, seed, UInt64(epoch))
        for last in stride(from: sampleCount - 1, to: 0, by: -1) { order.swapAt(last, random.below(last + 1)) }
        return order
    }

    /// The number of samples in a step, over all ranks.
    ///
    /// - Precondition: `0 ≤ step < stepsPerEpoch`.
    package func globalCount(step: Int) -> Int {
        precondition(step >= 0 && step < stepsPerEpoch, "there is no step \(step) in an epoch of \(stepsPerEpoch)")
        return min(globalBatch, sampleCount - step * globalBatch)
    }

    /// A rank's part of a step, as positions in the epoch's order; may be empty.
    ///
    /// - Precondition: `0 ≤ step < stepsPerEpoch` and `0 ≤ rank < worldSize`.
    package func localRange(step: Int, rank: Int) -> Range<Int> {
        let count = globalCount(step: step)
        let units = partition((count - 1) / unit + 1, into: worldSize, part: rank)
        let start = step * globalBatch
        return start + min(units.lowerBound * unit, count)..<start + min(units.upperBound * unit, count)
    }

    /// The position before another of the same step, and before its first position its last.
    func position(before position: Int, step: Int) -> Int {
        let start = step * globalBatch
        return position > start ? position - 1 : start + globalCount(step: step) - 1
    }

    /// The maximum number of samples that a rank has in any step.
    public func maximumLocalBatchSize(rank: Int) -> Int { localRange(step: 0, rank: rank).count }
}
