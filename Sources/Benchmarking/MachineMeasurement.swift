import DataParallel
import DenseNetModel
import Planning
import Support

/// Measures on the ranks at hand what `StepModel` wants to know of a machine.
package struct MachineMeasurement {
    private let configuration: Benchmark.Configuration
    private let world: Communicator
    /// This rank without the others.
    private let single: Communicator
    private let schedule: StepSchedule

    /// Collective.
    ///
    /// - Parameter configuration: its batch size does not count; `threads` are each rank's.
    package init(_ configuration: Benchmark.Configuration, world: Communicator) throws {
        self.configuration = configuration
        self.world = world
        single = try world.single()
        schedule = StepSchedule(
            ParameterTable(configuration.network), isSynchronized: configuration.statistics == .globalBatch)
    }

    /// Rank zero computes while the others sleep. Collective; the result is rank zero's, and everybody's.
    package func profileAlone(images: [Int]) throws -> ComputeProfile {
        let own = Result { world.rank == 0 ? try images.map(point) : [] }
        try world.sleepUntilAllArrive()
        let points = try world.throwOnAllRanks { try own.get() }
        return try gathered(images, points)
    }

    /// All ranks compute at once, each for itself, and share the memory of their hosts. Collective.
    package func profileFull(images: [Int]) throws -> ComputeProfile {
        let points = try images.map { count in
            try world.barrier()
            return try world.throwOnAllRanks { try point(count) }
        }
        return try gathered(images, points)
    }

    /// This rank's seconds for each part of a step, and its samples.
    private func point(_ images: Int) throws -> [[Double]] {
        var configuration = configuration
        configuration.batchSize = images
        return try Benchmark(configuration, communicator: single).timeParts(of: schedule)
    }

    /// The samples of all ranks that have some. Collective.
    private func gathered(_ images: [Int], _ points: [[[Double]]]) throws -> ComputeProfile {
        let samples = points.joined().joined().map { $0 }
        let ranks = try world.allGather(bytes: samples.withUnsafeBytes { Array($0) }).filter { !$0.isEmpty }.map {
            bytes in
            bytes.withUnsafeBytes { Array($0.bindMemory(to: Double.self)) }
        }
        let parts = schedule.events.count + 1
        let perPart = ranks[0].count / (images.count * parts)
        return ComputeProfile(
            images.enumerated().map { index, count in
                ComputeProfile.Point(
                    images: count,
                    parts: (0..<parts).map { part in
                        let first = (index * parts + part) * perPart
                        return ranks.flatMap { $0[first..<first + perPart] }
                    })
            })
    }

    /// What sums and gradients take between the ranks of a host; nil unless there are two, all on one host. Collective.
    package func links() throws -> (local: Link, gradients: Double)? {
        guard world.size > 1, world.localSize == world.size else { return nil }
        let rounds = Double(Machine.rounds(world.size))
        let (few, many) = (16, 4096)
        let (short, long) = (try secondsPerSum(of: few) / rounds, try secondsPerSum(of: many) / rounds)
        let bandwidth = 8 * Double(many - few) / max(long - short, 1e-9)
        let gradients = 4 * Double(schedule.gradientCount) * rounds / (try secondsPerGradient())
        // Rank zero's clock for all.
        let all = try world.broadcast([max(short - 8 * Double(few) / bandwidth, 0), bandwidth, gradients], from: 0)
        return (Link(latency: all[0], bandwidth: all[1]), all[2])
    }

    private func secondsPerSum(of values: Int) throws -> Double {
        let sums = StatisticsAllReduce(communicator: world)
        var buffer = [Double](repeating: 1, count: values)
        return try fastest(of: 9) {
            for _ in 0..<Self.sumsPerSample {
                for index in buffer.indices { buffer[index] = 1 }
                try sums.sum(buffer.mutableSpan)
            }
        } / Double(Self.sumsPerSample)
    }

    /// Of the exchange that a training step would use here.
    private func secondsPerGradient() throws -> Double {
        let count = schedule.gradientCount
        // As much as a step asks for, so that both have it or neither.
        let host = try HostBuffers.allocate(count: count, common: 2, communicator: world)
        let exchange: GradientAllReduce
        let bucketElements = GradientExchange.buckets.bucketElements
        switch host {
        case .success(let host):
            host.own.elements.update(repeating: 0)
            exchange = GradientAllReduce(
                communicator: world, gradients: host.own, host: host, bucketElements: bucketElements)
        case .failure:
            exchange = GradientAllReduce(
                communicator: world, gradients: AlignedBuffer(count: count), bucketElements: bucketElements)
        }
        return try fastest(of: 9) { try exchange.finish() }
    }

    private static let sumsPerSample = 50

    /// Seconds that `body` takes on ranks that begin together and are not disturbed: how long they wait for each other
    /// in a step is seen in its parts. Collective.
    private func fastest(of count: Int, _ body: () throws -> Void) throws -> Double {
        var least = Double.infinity
        for _ in 0..<count {
            try world.barrier()
            let began = monotonicSeconds()
            try body()
            least = min(least, monotonicSeconds() - began)
        }
        return least
    }
}
