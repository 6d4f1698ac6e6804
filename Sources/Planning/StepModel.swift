import DenseNetModel

/// Predicts a training step on any number of ranks: what each rank computes, the sums of statistics one by one, and the
/// gradient's buckets as they become ready.
package struct StepModel: Sendable {
    package let schedule: StepSchedule
    package let exchange: GradientExchange
    package var machine: Machine
    /// A rank with its host to itself.
    package let alone: ComputeProfile
    /// A rank beside `fullRanks` − 1 others on its host, which share its memory and caches.
    package let full: ComputeProfile
    package let fullRanks: Int

    package init(
        schedule: StepSchedule, exchange: GradientExchange = .buckets, machine: Machine, alone: ComputeProfile,
        full: ComputeProfile, fullRanks: Int
    ) {
        self.schedule = schedule
        self.exchange = exchange
        self.machine = machine
        self.alone = alone
        self.full = full
        self.fullRanks = fullRanks
    }

    /// A step, in seconds.
    package struct Prediction: Sendable, Equatable, Codable {
        package let ranks, hosts, batchSize: Int
        /// Of the ranks that have most.
        package let imagesPerRank: Int
        /// A rank's own work, on average.
        package var compute = 0.0
        /// Until the slowest rank is there, over all sums.
        package var waiting = 0.0
        /// Sums of statistics.
        package var statistics = 0.0
        /// What the sum of gradients adds: the work of the cores, what backward does not hide, and the agreement that
        /// it is finite.
        package var gradients = 0.0

        package var seconds: Double { compute + waiting + statistics + gradients }
        package var imagesPerSecond: Double { Double(batchSize) / seconds }
    }

    /// - Precondition: `1 ≤ ranks ≤ batchSize`.
    package func step(ranks: Int, batchSize: Int) -> Prediction {
        precondition(ranks >= 1 && ranks <= batchSize, "\(batchSize) images on \(ranks) ranks")
        let images = (batchSize - 1) / ranks + 1
        var step = Prediction(
            ranks: ranks, hosts: machine.hosts(ranks: ranks), batchSize: batchSize, imagesPerRank: images)
        let means = parts(images: images, slowestOf: 1, ranks: ranks)
        let slowest = parts(images: images, slowestOf: ranks, ranks: ranks)
        step.compute = means.reduce(0, +)
        step.waiting = max(0, slowest.reduce(0, +) - step.compute)
        guard ranks > 1 else { return step }
        let sizes = exchange.bucketSizes(gradientCount: schedule.gradientCount)
        /// The time since the step began, when the network is through with the buckets so far, and these.
        var (now, networkFree, started) = (0.0, 0.0, 0)
        for (event, part) in zip(schedule.events, slowest) {
            now += part
            switch event {
            case .sum(let values):
                // Messages between two hosts keep their order: a sum waits for the buckets that are on their way.
                let queued = max(0, networkFree - now)
                step.gradients += queued
                let seconds = machine.sum(values: values, ranks: ranks)
                step.statistics += seconds
                now += queued + seconds
            case .ready(let offset):
                let end = exchange.readyBuckets(upTo: offset, gradientCount: schedule.gradientCount)
                for elements in sizes[started..<end] {
                    let busy = exchange.localSeconds(elements: elements, ranks: ranks, on: machine)
                    step.gradients += busy
                    now += busy
                    networkFree =
                        max(networkFree, now) + exchange.networkSeconds(elements: elements, ranks: ranks, on: machine)
                }
                started = end
            }
        }
        let back = exchange.secondsBack(elements: sizes.last ?? 0, ranks: ranks, on: machine)
        step.gradients += max(0, networkFree + back - now)
        // Ranks agree that the gradient is finite.
        step.gradients += machine.sum(values: 1, ranks: ranks)
        return step
    }

    /// Images/s of some ranks against as many times those of one rank with the same batch, 0 to 1.
    package func efficiency(of step: Prediction) -> Double {
        let one = self.step(ranks: 1, batchSize: step.batchSize)
        return one.seconds / (Double(step.ranks) * step.seconds)
    }

    /// The global batch, of a power of two images a rank, from which on so many ranks have an efficiency; nil where
    /// they do not with 1,024 images a rank.
    package func payingBatch(ranks: Int, efficiency: Double) -> Int? {
        let batches = (0...10).reversed().map { ranks << $0 }
        return batches.prefix { self.efficiency(of: step(ranks: ranks, batchSize: $0)) >= efficiency }.last
    }

    /// As `ComputeProfile.parts`; between a host for one rank and a full one, in proportion to the ranks on it.
    private func parts(images: Int, slowestOf count: Int, ranks: Int) -> [Double] {
        let onHost = machine.localRanks(ranks: ranks)
        let share = fullRanks > 1 ? min(1, Double(onHost - 1) / Double(fullRanks - 1)) : 0
        if share == 1 { return full.parts(images: images, slowestOf: count) }
        let one = alone.parts(images: images, slowestOf: count)
        if share == 0 { return one }
        return zip(one, full.parts(images: images, slowestOf: count)).map { $0 + share * ($1 - $0) }
    }
}
