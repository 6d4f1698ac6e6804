import DataParallel
import DenseNetModel
import ImageData
import Support

extension StatisticsAllReduce: GlobalSums {
    package func sum(_ values: UnsafeMutableBufferPointer<Double>) throws { try sum(values.mutableSpan) }
}

/// A network with all that moves its weights, on every rank: one step from a batch to new weights.
///
/// All memory is allocated by `init`; a step allocates nothing. The ranks of a host share weights and momenta where
/// they can, and each moves its part of them; their memory ends with `MPIEnvironment.run`.
public final class TrainingStep {
    /// The network that is trained.
    public let network: TrainableDenseNet
    /// Why the ranks of a host exchange gradients by messages rather than by shared memory; nil if they share it.
    package let refusal: HostBuffers.Refusal?
    /// Holds the momenta.
    package let optimizer: Optimizer
    /// The moving average of the weights, where there is to be one.
    package let average: WeightAverage?
    package let sums: StatisticsAllReduce
    let allReduce: GradientAllReduce
    /// Whether the last step's gradient and running statistics had nothing but finite numbers; the same on all ranks.
    public private(set) var isFinite = true
    /// The running statistics before the step.
    private let statisticsBefore: AlignedBuffer<Float>
    /// Nil where batch statistics are those of the global batch.
    private let groups: ImageGroups?
    private let labelSmoothing: Double
    private let classWeights: [Double]?
    /// The sum over all ranks' images of the weights of their classes, where classes have weights.
    private let weightSum = AlignedBuffer<Double>(count: 1)
    private let seed: UInt64

    /// Elements of a gradient bucket: 256 KiB, so that the first buckets of a small network are on their way early in
    /// backward.
    private static let bucketElements = 65_536

    /// Allocates momenta and the state of the all-reduces, and moves weights and gradients into memory that the ranks
    /// of a host share. Collective.
    ///
    /// - Parameters:
    ///   - network: has the same weights, and the same parts frozen, on all ranks. From here on the ranks of a host have one copy of them, which each
    ///     may change before a step only as the others do.
    ///   - optimizer: how weights follow gradients.
    ///   - averageDecay: keeps a moving average of parameters and running statistics, which begins at those that the
    ///     network has; see `WeightAverage`. Above 0 and below 1.
    ///   - labelSmoothing: the share of the target that is spread over all classes.
    ///   - classWeights: what each class counts for in the loss, 0 or above, the same on all ranks; nil where all count
    ///     the same.
    ///   - seed: what dropout is drawn from, with epoch and sample.
    ///   - communicator: the ranks that share each batch.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    public convenience init(
        _ network: TrainableDenseNet, optimizer: OptimizerConfiguration = OptimizerConfiguration(),
        averageDecay: Double? = nil, labelSmoothing: Double = 0, classWeights: [Double]? = nil, seed: UInt64,
        communicator: Communicator
    ) throws {
        try self.init(
            network, groups: nil, optimizer: optimizer, averageDecay: averageDecay, labelSmoothing: labelSmoothing,
            classWeights: classWeights, seed: seed, communicator: communicator)
    }

    /// - Parameters:
    ///   - groups: of `network`, on all ranks or none; nil where batch statistics are those of the global batch.
    ///   - rateFactors: what the rate of a step is taken times for parts that have another than the others.
    package init(
        _ network: TrainableDenseNet, groups: ImageGroups?,
        optimizer: OptimizerConfiguration = OptimizerConfiguration(), averageDecay: Double? = nil,
        labelSmoothing: Double = 0, classWeights: [Double]? = nil, rateFactors: [NetworkPart: Double] = [:],
        seed: UInt64, communicator: Communicator
    ) throws {
        let classes = network.configuration.classes
        precondition(
            classWeights?.count ?? classes == classes,
            "\(classWeights?.count ?? 0) weights for \(classes) classes")
        let count = network.table.parameterCount
        let host: HostBuffers?
        let common = averageDecay == nil ? 2 : 3
        switch try HostBuffers.allocate(count: count, common: common, communicator: communicator) {
        case .success(let buffers):
            (host, refusal) = (buffers, nil)
            network.move(parametersTo: buffers.common[0], gradientsTo: buffers.own, copying: buffers.isFirstRank)
            buffers.own.elements.update(repeating: 0)
            if buffers.isFirstRank { for buffer in buffers.common[1...] { buffer.elements.update(repeating: 0) } }
        case .failure(let reason): (host, refusal) = (nil, reason)
        }
        self.network = network
        self.groups = groups
        self.labelSmoothing = labelSmoothing
        self.classWeights = classWeights
        self.seed = seed
        statisticsBefore = AlignedBuffer(count: network.runningStatistics.count)
        sums = StatisticsAllReduce(communicator: communicator)
        allReduce = GradientAllReduce(
            communicator: communicator, gradients: network.gradientBuffer, count: network.gradientEnd, host: host,
            bucketElements: Self.bucketElements)
        average = averageDecay.map {
            WeightAverage(decay: $0, of: network, parameters: host?.common[2] ?? AlignedBuffer(count: count))
        }
        self.optimizer = Optimizer(
            optimizer, of: network, momentumBuffer: host?.common[1] ?? AlignedBuffer(count: count),
            gradients: allReduce.sums, parts: allReduce.parts, rateFactors: rateFactors, average: average)
        average?.begin(at: network, writingParameters: host?.isFirstRank ?? true)
        try allReduce.meetHost()
    }

    /// Trains on this rank's part of a global batch. Collective.
    ///
    /// Where gradient or running statistics are not finite, weights, momenta and running statistics stay as they were.
    /// (Where the loss is not finite the gradient is not either.)
    ///
    /// - Returns: this rank's loss and hits, before the weights moved.
    public func callAsFunction(_ batch: Batch, rate: Double) throws -> BatchResult {
        _ = statisticsBefore.elements.update(fromContentsOf: network.runningStatistics)
        let (result, gradientIsFinite) = try sumGradients(of: batch)
        let weight = try globalWeight(of: result, batch)
        network.clock.enter(.optimizer, backward: false)
        isFinite = try allReduce.agree(gradientIsFinite && network.runningStatistics.allFinite)
        if isFinite {
            try moveWeights(rate: rate, weight: weight)
        } else {
            try allReduce.gatherSums()
            _ = network.runningStatistics.update(fromContentsOf: statisticsBefore.elements)
        }
        network.clock.enter(.other)
        return result
    }

    /// Leaves in the network the gradient of the summed loss of the whole global batch, the same on all ranks.
    /// Collective.
    package func gradients(of batch: Batch) throws -> BatchResult {
        let (result, _) = try sumGradients(of: batch)
        try allReduce.gatherSums()
        return result
    }

    /// Moves the weights by the gradient, a sum that is divided by `weight`, and their average. Collective.
    package func moveWeights(rate: Double, weight: Double) throws {
        optimizer.step(rate: rate, weight: weight)
        // No rank may read weights that another is about to move.
        try allReduce.meetHost()
    }

    /// What the gradient's sum over all ranks is divided by. Collective where classes have weights.
    private func globalWeight(of result: BatchResult, _ batch: Batch) throws -> Double {
        guard classWeights != nil else { return Double(batch.globalCount) }
        weightSum.pointer[0] = result.weight
        network.clock.enter(.statisticsSync)
        sums.beginPass("weights of classes")
        try sums.sum(weightSum.elements)
        return weightSum.pointer[0]
    }

    /// Leaves this rank's parts of the gradient of the whole global batch in `allReduce`. Collective.
    ///
    /// - Returns: this rank's loss and hits, and whether its parts are finite.
    private func sumGradients(of batch: Batch) throws -> (result: BatchResult, isFinite: Bool) {
        precondition(
            batch.imageCount == network.imageCount,
            "images of \(batch.imageCount) numbers for a network of \(network.imageCount)")
        var isFinite = true
        let result = try pass(over: batch) { offset in
            network.clock.enter(.gradientWait)
            try allReduce.ready(upTo: offset) { isFinite = $0.allFinite && isFinite }
        }
        network.clock.enter(.gradientWait)
        try allReduce.finish { isFinite = $0.allFinite && isFinite }
        if let groups {
            sums.beginPass("running statistics")
            network.clock.enter(.statisticsSync)
            try groups.moveRunningStatistics(sums)
        }
        return (result, isFinite && groups?.isComplete != false)
    }

    /// Forward, loss and backward over this rank's part of a global batch. Collective.
    private func pass(over batch: Batch, ready: (_ offset: Int) throws -> Void) throws -> BatchResult {
        let dropout = (seed, batch.epoch, batch.sampleIndices)
        let labels = BatchLabels(batch.labels, others: batch.otherLabels, ownShare: batch.ownShare)
        if let groups {
            sums.beginPass("forward and backward")
            return try groups.gradients(
                batch.images, labels: labels, count: batch.count, globalCount: batch.globalCount,
                labelSmoothing: labelSmoothing, classWeights: classWeights, dropout: dropout, ready: ready)
        }
        sums.beginPass("forward statistics")
        let pass = try network.forward(
            batch.images, count: batch.count, globalCount: batch.globalCount, dropout: dropout, sums: sums)
        let loss = pass.loss(labels, labelSmoothing: labelSmoothing, classWeights: classWeights)
        let result = loss.result
        sums.beginPass("backward statistics")
        try loss.backward(ready: ready)
        return result
    }
}

extension TrainingStep {
    /// Runs `body` with the averages in the place of the network's parameters and running statistics; it must not
    /// train.
    ///
    /// - Returns: nil, without a call, where there is no average.
    public func withAverage<Result>(_ body: () throws -> Result) rethrows -> Result? {
        try average.map { try network.withWeights($0.parameters, statistics: $0.statistics, body) }
    }

    /// Rank zero's weights, running statistics, momenta and averages become everybody's. Collective.
    func broadcast(from root: Int, _ communicator: Communicator) throws {
        try communicator.broadcast(network.parameters.mutableSpan, from: root)
        try communicator.broadcast(network.runningStatistics.mutableSpan, from: root)
        try communicator.broadcast(optimizer.momentumBuffer.elements.mutableSpan, from: root)
        guard let average else { return }
        try communicator.broadcast(average.parameters.elements.mutableSpan, from: root)
        try communicator.broadcast(average.statistics.elements.mutableSpan, from: root)
        average.updates = Int(try communicator.broadcast(Double(average.updates), from: root))
    }

    /// A number that differs where any weight, running statistic, momentum or average differs in a bit (CRC-32).
    var hash: UInt64 {
        var sum = CRC32()
        let buffers = [network.parameters, network.runningStatistics, optimizer.momentumBuffer.elements]
        let averages = average.map { [$0.parameters.elements, $0.statistics.elements] } ?? []
        for buffer in buffers + averages { sum.add(UnsafeRawBufferPointer(buffer)) }
        return UInt64(sum.value)
    }
}
