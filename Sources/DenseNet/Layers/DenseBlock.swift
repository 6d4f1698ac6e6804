import Kernels
import Support

/// A dense block's features and the batch statistics that all of its layers share.
///
/// All layers of a block, and the norm behind it, read prefixes of the same channels and normalise them by the same
/// mean and variance; only γ and β differ. So a channel's statistics are computed (and summed over ranks) once, when
/// it has been produced. In backward each consumer adds γ·(its masked gradient) to G, the gradient of the normalised
/// feature; once all have, the producer applies batch norm's backward. It is exact, not an approximation.
final class DenseBlock {
    let featureMap: FeatureMap
    let channels: Int
    /// The raw features, x.
    let values: Panels
    /// G, the gradient of the normalised features; empty unless training.
    let gradients: Panels
    let statistics: ChannelStatistics
    /// This rank's ΣG and ΣG·x̂ per channel. They follow from the consumers' dβ and dγ: ΣG = Σ γ·dβ, ΣG·x̂ = Σ γ·dγ.
    private let gradientSums: AlignedBuffer<Double>
    private let productSums: AlignedBuffer<Double>
    private let sumSpace: SumSpace

    init(featureMap: FeatureMap, channels: Int, images: Int, training: Bool, sumSpace: SumSpace) {
        self.featureMap = featureMap
        self.channels = channels
        self.sumSpace = sumSpace
        values = Panels(layout: featureMap.layout, channels: channels, images: images)
        gradients = Panels(layout: featureMap.layout, channels: channels, images: training ? images : 0)
        statistics = ChannelStatistics(channels: channels)
        gradientSums = AlignedBuffer(count: channels)
        productSums = AlignedBuffer(count: channels)
    }

    /// The `count` channels from `first` on, for whoever produces them.
    func produced(_ count: Int, from first: Int) -> ProducedChannels {
        ProducedChannels(
            count, from: first, of: values, gradients: gradients, statistics: statistics, featureMap: featureMap,
            in: sumSpace)
    }

    /// Before backward: no consumer has added anything.
    func clearGradientSums() {
        gradientSums.elements.update(repeating: 0)
        productSums.elements.update(repeating: 0)
    }

    /// Adds a consumer's part of ΣG and ΣG·x̂ for the block's first channels.
    ///
    /// - Parameters:
    ///   - weight: the consumer's γ.
    ///   - sums: its dβ and dγ.
    func addGradientSums(weight: UnsafePointer<Float>, _ sums: ChannelSums) {
        for c in 0..<sums.channels {
            gradientSums.pointer[c] += Double(weight[c]) * sums.first[c]
            productSums.pointer[c] += Double(weight[c]) * sums.second[c]
        }
    }

    /// Computes how ∂L/∂x of produced channels follows from G. Collective.
    ///
    /// Call it when all of the channels' consumers have added to G.
    func synchronizeGradient(of produced: ProducedChannels, _ pass: PassContext) throws {
        for c in 0..<produced.count {
            produced.sums.first[c] = gradientSums.pointer[produced.first + c]
            produced.sums.second[c] = productSums.pointer[produced.first + c]
        }
        try produced.synchronizeGradient(weight: nil, pass)
    }
}
