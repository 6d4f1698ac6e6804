import CallLog
import DataParallel
import DenseNetModel
@preconcurrency import Glibc
import ImageData
import Planning
import Support
import Training

/// Trains small networks over all ranks and holds the MPI calls of a step against those that a plan counts. Exit code 0
/// means that they are the same, in the same order; rank zero prints their number and how gradients travel. With the
/// features frozen a step has no calls but for the classifier's gradient.
@main
struct Program {
    static func main() {
        exit(
            MPIEnvironment.run(report: { fputs("\($0)\n", stderr) }) { world in
                for network in networks { try compare(network, .globalBatch, world) }
                try compare(networks[3], .group(images: 2), world)
                for evaluating in [false, true] { try compareFrozen(networks[3], evaluating: evaluating, world) }
            })
    }

    /// The last has gradients for several buckets.
    private static let networks = [
        network(.cifar, [2, 1, 2], growth: 5, channels: 7, bottleneck: false, image: 9),
        network(.cifar, [2, 2], growth: 3, channels: 6, bottleneck: true, image: 8),
        network(.imagenet, [1, 2], growth: 4, channels: 8, bottleneck: true, image: 35),
        network(.cifar, [6, 6, 6], growth: 12, channels: 24, bottleneck: true, image: 8),
    ]

    private static func network(
        _ stem: DenseNetConfiguration.Stem, _ blocks: [Int], growth: Int, channels: Int, bottleneck: Bool, image: Int
    ) -> DenseNetConfiguration {
        DenseNetConfiguration(
            stem: stem, blocks: blocks, growthRate: growth, stemChannels: channels, bottleneck: bottleneck,
            compression: bottleneck ? 0.5 : 1, classes: 10, image: image)
    }

    private struct Call: Equatable {
        let name: String
        let elements, size: Int
    }

    private static func compare(
        _ configuration: DenseNetConfiguration, _ statistics: BatchStatistics, _ world: Communicator
    ) throws {
        let network = try TrainableDenseNet(configuration, capacity: 2)
        let step = try step(network, statistics, world)
        let schedule = StepSchedule(ParameterTable(configuration), isSynchronized: statistics == .globalBatch)
        try compare(
            callsMade(by: step, statistics, world),
            calls(of: schedule.events, gradientCount: schedule.gradientCount, isShared: step.refusal == nil), world)
    }

    /// - Parameter evaluating: whether the features work as in evaluation; otherwise they have batch statistics, forward.
    private static func compareFrozen(
        _ configuration: DenseNetConfiguration, evaluating: Bool, _ world: Communicator
    ) throws {
        let network = try TrainableDenseNet(configuration, capacity: 2)
        try network.freeze([.features], evaluatingNorms: evaluating)
        let step = try step(network, .globalBatch, world)
        let (table, schedule) = (network.table, StepSchedule(network.table))
        let count = table.classifierWeight.count + table.classifierBias.count
        let events = (evaluating ? [] : Array(schedule.events.prefix(schedule.forwardCount))) + [.ready(offset: count)]
        try compare(
            callsMade(by: step, .globalBatch, world),
            calls(of: events, gradientCount: count, isShared: step.refusal == nil), world)
    }

    /// - Parameter network: its weights are not set yet.
    private static func step(
        _ network: TrainableDenseNet, _ statistics: BatchStatistics, _ world: Communicator
    ) throws -> TrainingStep {
        network.initialize(seed: 1)
        // An average of the weights takes no call of its own.
        return try TrainingStep(
            network, groups: statistics.groups(of: network, images: 4), averageDecay: 0.9, seed: 1,
            communicator: world)
    }

    private static func callsMade(
        by step: TrainingStep, _ statistics: BatchStatistics, _ world: Communicator
    ) throws -> [Call] {
        let images = ImageSet.synthetic(count: 8, seed: 1, split: .train, imageSize: step.network.imageSize)
        let sampler = try Sampler(
            sampleCount: images.count, globalBatch: statistics == .globalBatch ? world.size : 4 * world.size,
            worldSize: world.size, seed: 1, shuffle: true, unit: statistics.unit)
        let loader = try BatchLoader(
            images: images, sampler: sampler, rank: world.rank, augmentation: Augmentation(crop: false, flip: false),
            normalization: try .channel(from: PixelSums(of: images)), seed: 1)
        let batch = try loader.next()
        call_log_start()
        _ = try step(batch, rate: 1e-3)
        return (0..<call_log_stop()).map {
            Call(
                name: String(cString: call_log_name($0)), elements: call_log_elements($0),
                size: Int(call_log_element_size($0)))
        }
    }

    private static func compare(_ made: [Call], _ planned: [Call], _ world: Communicator) throws {
        try world.throwOnAllRanks {
            guard
                let place = zip(made, planned).enumerated().first(where: { $0.element.0 != $0.element.1 })?.offset
                    ?? (made.count == planned.count ? nil : min(made.count, planned.count))
            else { return }
            throw Failure(
                .differs,
                "call \(place + 1) of \(made.count) is \(made[place...].first as Any), "
                    + "planned of \(planned.count): \(planned[place...].first as Any)")
        }
        let isShared = made.contains { $0.name == "MPI_Ibarrier" }
        if world.rank == 0 { print("\(made.count) calls as planned, \(isShared ? "shared memory" : "messages")") }
    }

    /// - Parameters:
    ///   - events: of a step.
    ///   - gradientCount: the gradients that are summed.
    ///   - isShared: whether all ranks see each other's gradients: a barrier then says that a bucket is full on all of
    ///     them, and another ends the step. Otherwise an all-reduce sums the bucket.
    private static func calls(of events: [StepSchedule.Event], gradientCount: Int, isShared: Bool) -> [Call] {
        let exchange = GradientExchange.buckets
        let sizes = exchange.bucketSizes(gradientCount: gradientCount)
        var started = 0
        let untilOptimizer = events.flatMap { event -> [Call] in
            switch event {
            case .sum(let values): return [Call(name: "MPI_Allreduce", elements: values, size: 8)]
            case .ready(let offset):
                let end = exchange.readyBuckets(upTo: offset, gradientCount: gradientCount)
                defer { started = end }
                return sizes[started..<end].map {
                    isShared
                        ? Call(name: "MPI_Ibarrier", elements: 0, size: 0)
                        : Call(name: "MPI_Iallreduce", elements: $0, size: 4)
                }
            }
        }
        // Ranks agree that the gradient is finite, with one flag.
        return untilOptimizer + [Call(name: "MPI_Allreduce", elements: 1, size: 4)]
            + (isShared ? [Call(name: "MPI_Barrier", elements: 0, size: 0)] : [])
    }
}
