import DataParallel
import DenseNetModel
import ImageData
import Support

extension StatisticsAllReduce: GlobalSums {
    package func sum(_ values: UnsafeMutableBufferPointer<Double>) throws { try sum(values.mutableSpan) }
}

/// A network with all that moves its weights, on every rank: one step from a batch to new weights.
///
/// All memory is allocated by `init`; a step allocates nothing.
public final class TrainingStep {
    /// The network that is trained.
    public let network: TrainableDenseNet
    /// Holds the momenta.
    package let optimizer: Optimizer
    package let sums: StatisticsAllReduce
    let allReduce: GradientAllReduce
    /// Whether the last step's gradient and running statistics had nothing but finite numbers. Both are made of sums
    /// over ranks, with the same bits on all of them, so all ranks know.
    public private(set) var isFinite = true
    /// The running statistics before the step.
    private let statisticsBefore: AlignedBuffer<Float>
    private let labelSmoothing: Double
    private let seed: UInt64

    /// Elements of a gradient bucket: 256 KiB, so that the first buckets of a small network are on their way early in
    /// backward.
    private static let bucketElements = 65_536

    /// Allocates momenta and the state of the all-reduces. Not collective.
    ///
    /// - Parameters:
    ///   - network: has the same weights on all ranks.
    ///   - optimizer: how weights follow gradients.
    ///   - labelSmoothing: the share of the target that is spread over all classes.
    ///   - seed: what dropout is drawn from, with epoch and sample.
    ///   - communicator: the ranks that share each batch.
    public init(
        _ network: TrainableDenseNet, optimizer: OptimizerConfiguration = OptimizerConfiguration(),
        labelSmoothing: Double = 0, seed: UInt64,
        communicator: Communicator
    ) {
        self.network = network
        self.optimizer = Optimizer(optimizer, of: network)
        self.labelSmoothing = labelSmoothing
        self.seed = seed
        statisticsBefore = AlignedBuffer(count: network.runningStatistics.count)
        sums = StatisticsAllReduce(communicator: communicator)
        allReduce = GradientAllReduce(
            communicator: communicator, gradients: network.gradientBuffer, bucketElements: Self.bucketElements)
    }

    /// Trains on this rank's part of a global batch. Collective.
    ///
    /// Where gradient or running statistics are not finite, weights, momenta and running statistics stay as they were.
    /// (Where the loss is not finite the gradient is not either.)
    ///
    /// - Returns: this rank's loss and hits, before the weights moved.
    public func callAsFunction(_ batch: Batch, rate: Double) throws -> BatchResult {
        _ = statisticsBefore.elements.update(fromContentsOf: network.runningStatistics)
        let result = try gradients(of: batch)
        network.clock.enter(.optimizer, backward: false)
        isFinite = network.gradients.allFinite && network.runningStatistics.allFinite
        if isFinite {
            optimizer.step(rate: rate, globalCount: batch.globalCount)
        } else {
            _ = network.runningStatistics.update(fromContentsOf: statisticsBefore.elements)
        }
        network.clock.enter(.other)
        return result
    }

    /// Leaves in the network the gradient of the summed loss of the whole global batch, the same on all ranks.
    /// Collective.
    package func gradients(of batch: Batch) throws -> BatchResult {
        sums.beginPass("forward statistics")
        let pass = try network.forward(
            batch.images, count: batch.count, globalCount: batch.globalCount,
            dropout: (seed, batch.epoch, batch.sampleIndices), sums: sums)
        let loss = pass.loss(batch.labels, labelSmoothing: labelSmoothing)
        let result = loss.result
        sums.beginPass("backward statistics")
        try loss.backward { offset in
            network.clock.enter(.gradientWait)
            try allReduce.ready(upTo: offset)
        }
        network.clock.enter(.gradientWait)
        try allReduce.finish()
        return result
    }
}

extension TrainingStep {
    /// Rank zero's weights, running statistics and momenta become everybody's. Collective.
    func broadcast(from root: Int, _ communicator: Communicator) throws {
        try communicator.broadcast(network.parameters.mutableSpan, from: root)
        try communicator.broadcast(network.runningStatistics.mutableSpan, from: root)
        try communicator.broadcast(optimizer.momentumBuffer.elements.mutableSpan, from: root)
    }

    /// A number that differs where any weight, running statistic or momentum differs in a bit (CRC-32).
    var hash: UInt64 {
        var sum = CRC32()
        for buffer in [network.parameters, network.runningStatistics, optimizer.momentumBuffer.elements] {
            sum.add(UnsafeRawBufferPointer(buffer))
        }
        return UInt64(sum.value)
    }
}
