import Glibc
import Kernels
import Support

/// Batch norm's ε, as in PyTorch and the papers.
package let normEpsilon = 1e-5

/// Batch statistics per channel, over the global batch or a group of images: x̂ = x·inverseDeviation + normalizedOffset
/// has mean 0 and variance 1.
final class ChannelStatistics {
    let mean: AlignedBuffer<Double>
    let variance: AlignedBuffer<Double>
    let inverseDeviation: AlignedBuffer<Float>
    let normalizedOffset: AlignedBuffer<Float>
    /// Whether a sum of this rank's own of a channel is not finite in float32, the type of the running statistics. False
    /// where no batch statistics are taken.
    let ownIsNonfinite: AlignedBuffer<Bool>

    init(channels: Int) {
        mean = AlignedBuffer(count: channels)
        variance = AlignedBuffer(count: channels)
        inverseDeviation = AlignedBuffer(count: channels)
        normalizedOffset = AlignedBuffer(count: channels)
        ownIsNonfinite = AlignedBuffer(count: channels)
    }

    /// Computes the statistics of the channels from `first` on. Collective.
    ///
    /// - Parameters:
    ///   - sums: the tasks' Σx and Σx²; replaced by the sums over all ranks.
    ///   - pixels: the number of pixels that the statistics are of.
    func set(channelsFrom first: Int, _ sums: ChannelSums, pixels: Double, _ pass: PassContext) throws {
        sums.finish()
        for c in 0..<sums.channels {
            ownIsNonfinite.pointer[first + c] = !(Float(sums.sum[c]).isFinite && Float(sums.productSum[c]).isFinite)
        }
        try pass.sumOverRanks(sums.all)
        for c in 0..<sums.channels {
            let mean = sums.sum[c] / pixels
            let variance = max(sums.productSum[c] / pixels - mean * mean, 0)
            let inverseDeviation = Float(1 / sqrt(variance + normEpsilon))
            self.mean.pointer[first + c] = mean
            self.variance.pointer[first + c] = variance
            self.inverseDeviation.pointer[first + c] = inverseDeviation
            normalizedOffset.pointer[first + c] = Float(-mean * Double(inverseDeviation))
        }
    }
}

/// The channels that one convolution or pool writes, their batch statistics and their gradient.
///
/// They are either the next channels of a dense block or panels of their own, followed by a batch norm.
final class ProducedChannels {
    let featureMap: FeatureMap
    /// The panels that hold the channels, from channel `first` on.
    let values: Panels
    /// The gradient of the normalized channels, in the same place. In a block it is G, the sum over all consumers.
    let gradients: Panels
    let first: Int
    let count: Int
    /// Whether they are channels of a block, rather than the output of a bottleneck or of the ImageNet stem's
    /// convolution.
    private let areFeatures: Bool
    /// Σx and Σx² in forward; Σg and Σg·x̂ in backward.
    let sums: ChannelSums
    /// Indexed from `first` on, too.
    let statistics: ChannelStatistics
    private let inputGradient: BatchNormInputGradient

    init(
        _ count: Int, from first: Int = 0, areFeatures: Bool = false, of values: Panels, gradients: Panels,
        statistics: ChannelStatistics, featureMap: FeatureMap, in scratch: ReductionScratch
    ) {
        self.featureMap = featureMap
        self.values = values
        self.gradients = gradients
        self.first = first
        self.count = count
        self.areFeatures = areFeatures
        self.statistics = statistics
        sums = ChannelSums(channels: count, in: scratch)
        inputGradient = BatchNormInputGradient(channels: count)
    }

    var layout: PanelLayout { featureMap.layout }

    /// The number of pixels that batch statistics are of.
    func pixels(_ pass: PassContext) -> Double { Double(pass.statisticsCount * layout.height * layout.width) }

    /// Row `y` of a group: shape [count][lanes].
    func row(_ group: Int, _ y: Int) -> PanelNumbers { values.numbers(group, y) + first * layout.lanes }

    /// Whether a forward pass sums them, for their batch statistics.
    func isSummed(_ pass: PassContext) -> Bool { areFeatures ? pass.summingFeatures : pass.training }

    /// Computes the batch statistics. Call it once all rows are written and summed. Collective.
    func synchronize(_ pass: PassContext) throws {
        try statistics.set(channelsFrom: first, sums, pixels: pixels(pass), pass)
    }

    /// All-reduces Σg and Σg·x̂ and computes the coefficients of ∂L/∂x. Call it once all gradients are written and
    /// `sums` has this rank's sums. Collective.
    ///
    /// - Parameter weight: γ per channel; nil if the gradient is already that of x̂.
    func synchronizeGradient(weight: UnsafePointer<Float>?, _ pass: PassContext) throws {
        try pass.sumOverRanks(sums.all)
        let pixels = pixels(pass)
        for c in 0..<count {
            inputGradient.set(
                c, weight: weight.map { Double($0[c]) } ?? 1, mean: statistics.mean.pointer[first + c],
                inverseDeviation: 1 / sqrt(statistics.variance.pointer[first + c] + normEpsilon),
                meanGradient: sums.sum[c] / pixels, meanProduct: sums.productSum[c] / pixels)
        }
    }

    /// Writes ∂L/∂x of row `y` of a group, channels `stride` numbers apart.
    @inline(__always)
    func writeInputGradient(_ group: Int, _ y: Int, into row: PanelNumbers, stride: Int) {
        let lanes = layout.lanes
        inputGradient.apply(
            gradient: gradients.numbers(group, y) + first * lanes, values: self.row(group, y), lanes: lanes,
            mask: featureMap.mask(group), into: row, outputStride: stride)
    }
}
