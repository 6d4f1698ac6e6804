import Support

/// Forward and backward over a rank's images in groups, one after the other, each with batch statistics of its own:
/// ghost batch norm (Hoffer, Hubara, Soudry, "Train longer, generalize better", arXiv 1705.08741, section 4).
///
/// The network needs room for one group's activations only. The running statistics move once a step, by the mean over
/// all groups of all ranks, each weighted by its images. All memory is allocated by `init`.
package final class ImageGroups {
    private let network: TrainableDenseNet
    private let size: Int
    /// The sum of the gradients of the groups so far; empty where a rank has one group at most.
    private let gradientsBefore: AlignedBuffer<Float>
    /// What the step's groups add to the running statistics, laid out as these.
    private let gains: AlignedBuffer<Double>
    /// The images of the group in progress, as a share of the global batch.
    private var share = 0.0

    /// Whether the last step's groups were all finite in loss and statistics.
    package private(set) var isComplete = true

    /// - Parameters:
    ///   - size: images of a group, at most the network's capacity; the last one of a rank may have fewer.
    ///   - most: the maximum number of images that this rank has in a step.
    package init(of network: TrainableDenseNet, size: Int, most: Int) {
        precondition(
            size >= 1 && min(size, most) <= network.capacity,
            "a network for \(network.capacity) images has no groups of \(size)")
        self.network = network
        self.size = size
        (gradientsBefore, gains) = Self.buffers(network.table, areSeveral: most > size)
    }

    /// What groups take beside the network.
    ///
    /// - Parameter areSeveral: whether a rank has more than one group in a step.
    static func buffers(
        _ table: ParameterTable, areSeveral: Bool
    ) -> (gradientsBefore: AlignedBuffer<Float>, gains: AlignedBuffer<Double>) {
        (
            AlignedBuffer(count: areSeveral ? table.parameterCount : 0),
            AlignedBuffer(count: table.runningStatisticsCount)
        )
    }

    /// Computes the gradients of the SUM of the losses of this rank's images. Not collective.
    ///
    /// Stops behind the forward pass of the first group whose loss or statistics are not finite: the network then has
    /// the numbers of that group, gradients that mean nothing, and `isComplete` is false.
    ///
    /// - Parameters:
    ///   - images: shape [count][channels][imageSize][imageSize], normalized.
    ///   - labels: of these images.
    ///   - count: this rank's number of images; may be 0.
    ///   - globalCount: the number of images of all ranks.
    ///   - labelSmoothing: as `ForwardPass.loss` has it, likewise `classWeights`.
    ///   - dropout: the random source of dropout; may be nil if dropout is 0.
    ///   - ready: called with the offset up to which the gradients are final, within the last group's backward; the buffer
    ///     fills from front to back.
    /// - Returns: the sums over this rank's images, as far as it came.
    package func gradients(
        _ images: UnsafePointer<Float>, labels: BatchLabels, count: Int, globalCount: Int,
        labelSmoothing: Double = 0, classWeights: [Double]? = nil, dropout: TrainableDenseNet.DropoutSource? = nil,
        ready: (_ offset: Int) throws -> Void = { _ in }
    ) throws -> BatchResult {
        gains.elements.update(repeating: 0)
        isComplete = true
        var result = BatchResult(lossSum: 0, correct: 0, weight: 0)
        if count == 0 { network.gradients.update(repeating: 0) }
        let imageCount = network.imageCount
        for first in stride(from: 0, to: count, by: size) {
            let groupCount = min(size, count - first)
            share = Double(groupCount) / Double(globalCount)
            let pass = try network.forward(
                images + first * imageCount, count: groupCount,
                dropout: dropout.map { ($0.seed, $0.epoch, $0.samples + first) }, groups: self)
            let loss = pass.loss(
                labels.dropping(first: first), labelSmoothing: labelSmoothing, classWeights: classWeights)
            result.lossSum += loss.result.lossSum
            result.correct += loss.result.correct
            result.weight += loss.result.weight
            // A ReLU may hide a NaN from the loss.
            isComplete = result.lossSum.isFinite && gains.elements.allSatisfy { Float($0).isFinite }
            guard isComplete else { break }
            let (isFirst, isLast) = (first == 0, first + groupCount == count)
            var end = 0
            try loss.backward { offset in
                addUp(end..<offset, isFirst: isFirst, isLast: isLast)
                end = offset
                if isLast { try ready(offset) }
            }
        }
        return result
    }

    /// Adds a part of a group's gradient to that of the groups before it; the last group's becomes the sum.
    private func addUp(_ part: Range<Int>, isFirst: Bool, isLast: Bool) {
        if isFirst && isLast { return }
        let (sum, own) = (gradientsBefore.pointer, network.gradients.baseAddress!)
        if isFirst {
            (sum + part.lowerBound).update(from: own + part.lowerBound, count: part.count)
        } else if isLast {
            for i in part { own[i] += sum[i] }
        } else {
            for i in part { sum[i] += own[i] }
        }
    }

    /// Adds what the group in progress, if it were the whole batch, would add to a running statistic.
    func add(_ gain: Double, to offset: Int) { gains.pointer[offset] += gain * share }

    /// Moves the running statistics by the groups of all ranks since `gradients` was called. Collective: sums one value
    /// per running statistic that is not frozen.
    package func moveRunningStatistics(_ sums: any GlobalSums) throws {
        let (running, momentum) = (network.runningStatistics, network.normMomentum)
        let moving = network.frozen.fixedStatistics(network.table)..<running.count
        guard !moving.isEmpty else { return }
        try sums.sum(UnsafeMutableBufferPointer(rebasing: gains.elements[moving]))
        for i in moving { running[i] = Float((1 - momentum) * Double(running[i]) + gains.pointer[i]) }
    }
}
