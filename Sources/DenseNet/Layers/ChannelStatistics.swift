import Glibc
import Kernels
import Support

/// What batch norm adds to the variance: the value of PyTorch and of the papers.
package let normEpsilon = 1e-5
/// The weight of a new batch in the running statistics.
let normMomentum = 0.1

/// Batch statistics per channel, over the global batch: x̂ = x·inverse + offset has mean 0 and variance 1.
final class ChannelStatistics {
    let mean: AlignedBuffer<Double>
    let variance: AlignedBuffer<Double>
    let inverse: AlignedBuffer<Float>
    let offset: AlignedBuffer<Float>
    /// Whether this rank's own sums of a channel were finite in float32, the type of the running statistics.
    let ownIsFinite: AlignedBuffer<Bool>

    init(channels: Int) {
        mean = AlignedBuffer(count: channels)
        variance = AlignedBuffer(count: channels)
        inverse = AlignedBuffer(count: channels)
        offset = AlignedBuffer(count: channels)
        ownIsFinite = AlignedBuffer(count: channels)
    }

    /// Computes the statistics of the channels from `first` on. Collective.
    ///
    /// - Parameters:
    ///   - sums: this rank's Σx and Σx², from its tasks; all ranks' afterwards.
    ///   - pixels: pixels of the global batch.
    func set(channelsFrom first: Int, _ sums: ChannelSums, tasks: Int, pixels: Double, _ pass: PassContext) throws {
        sums.finish(tasks: tasks)
        for c in 0..<sums.channels {
            ownIsFinite.pointer[first + c] = Float(sums.first[c]).isFinite && Float(sums.second[c]).isFinite
        }
        try pass.sumOverRanks(sums.all)
        for c in 0..<sums.channels {
            let mean = sums.first[c] / pixels
            let variance = max(sums.second[c] / pixels - mean * mean, 0)
            let inverse = Float(1 / sqrt(variance + normEpsilon))
            self.mean.pointer[first + c] = mean
            self.variance.pointer[first + c] = variance
            self.inverse.pointer[first + c] = inverse
            offset.pointer[first + c] = Float(-mean * Double(inverse))
        }
    }
}

/// The channels that one convolution (or pool) writes: their place, their batch statistics and their gradient.
///
/// They are either the next channels of a dense block, or panels of their own with a batch norm behind them.
final class ProducedChannels {
    /// Where and for which images of the step they are.
    let featureMap: FeatureMap
    /// The panels that hold them, from channel `first` on.
    let values: Panels
    /// Alike: the gradient of the normalised channels. In a block that is G, the sum over all consumers.
    let gradients: Panels
    let first: Int
    let count: Int
    /// Σx and Σx² in forward; Σg and Σg·x̂ in backward.
    let sums: ChannelSums
    /// Also indexed from `first` on.
    let statistics: ChannelStatistics
    private let inputGradient: BatchNormInputGradient

    init(
        _ count: Int, from first: Int = 0, of values: Panels, gradients: Panels, statistics: ChannelStatistics,
        featureMap: FeatureMap, in space: SumSpace
    ) {
        self.featureMap = featureMap
        self.values = values
        self.gradients = gradients
        self.first = first
        self.count = count
        self.statistics = statistics
        sums = ChannelSums(channels: count, in: space)
        inputGradient = BatchNormInputGradient(channels: count)
    }

    var layout: PanelLayout { featureMap.layout }
    /// Floats from a row to the next.
    var rowPitch: Int { values.channels * layout.lanes }

    /// Pixels of the global batch.
    func pixels(_ pass: PassContext) -> Double { Double(pass.globalCount * layout.height * layout.width) }

    /// Row `y` of a group: shape [count][lanes].
    func row(_ group: Int, _ y: Int) -> UnsafeMutablePointer<Float> { values.panel(group, y) + first * layout.lanes }

    /// All rows are written and their sums gathered: computes the statistics. Collective.
    func synchronize(_ pass: PassContext) throws {
        try statistics.set(channelsFrom: first, sums, tasks: featureMap.tasks.count, pixels: pixels(pass), pass)
    }

    /// All gradients are there, and `sums` has this rank's Σg and Σg·x̂: all-reduces them and computes the coefficients
    /// of ∂L/∂x. Collective.
    ///
    /// - Parameter weight: γ per channel; nil where the gradient is already that of x̂.
    func synchronizeGradient(weight: UnsafePointer<Float>?, _ pass: PassContext) throws {
        try pass.sumOverRanks(sums.all)
        let pixels = pixels(pass)
        for c in 0..<count {
            inputGradient.set(
                c, weight: weight.map { Double($0[c]) } ?? 1, mean: statistics.mean.pointer[first + c],
                inverse: 1 / sqrt(statistics.variance.pointer[first + c] + normEpsilon),
                meanGradient: sums.first[c] / pixels, meanProduct: sums.second[c] / pixels)
        }
    }

    /// Writes ∂L/∂x of row `y` of a group, its channels `stride` floats apart.
    @inline(__always)
    func writeInputGradient(_ group: Int, _ y: Int, into row: UnsafeMutablePointer<Float>, stride: Int) {
        let lanes = layout.lanes
        inputGradient.apply(
            gradient: gradients.panel(group, y) + first * lanes, values: self.row(group, y), lanes: lanes,
            mask: featureMap.mask(group), into: row, outputStride: stride)
    }
}
