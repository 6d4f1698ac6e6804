import Kernels
import Support

/// A dense block's features and the batch statistics that all its layers share.
///
/// All layers of a block, and the norm after it, read prefixes of the same channels and normalize them by the same mean
/// and variance; only γ and β differ. So the statistics of a channel are computed, and summed over ranks, once: when it
/// is produced. In backward each consumer adds γ·(its masked gradient) to G, the gradient of the normalized feature;
/// once all have, the producer applies batch norm's backward. This is exact, not an approximation.
final class DenseBlock {
    let featureMap: FeatureMap
    let channels: Int
    /// The raw features, x.
    let values: Panels
    /// G, the gradient of the normalized features; empty unless training.
    let gradients: Panels
    let statistics: ChannelStatistics
    /// This rank's ΣG and ΣG·x̂ per channel. They follow from the consumers' dβ and dγ: ΣG = Σ γ·dβ, ΣG·x̂ = Σ γ·dγ.
    private let gradientSums: AlignedBuffer<Double>
    private let productSums: AlignedBuffer<Double>
    private let reductionScratch: ReductionScratch

    init(
        featureMap: FeatureMap, channels: Int, images: Int, training: Bool, precision: Precision,
        reductionScratch: ReductionScratch
    ) {
        self.featureMap = featureMap
        self.channels = channels
        self.reductionScratch = reductionScratch
        func panels(_ images: Int) -> Panels {
            Panels(layout: featureMap.layout, channels: channels, images: images, precision: precision)
        }
        values = panels(images)
        gradients = panels(training ? images : 0)
        statistics = ChannelStatistics(channels: channels)
        gradientSums = AlignedBuffer(count: channels)
        productSums = AlignedBuffer(count: channels)
    }

    /// The `count` channels from `first` on, for the layer that produces them.
    func produced(_ count: Int, from first: Int) -> ProducedChannels {
        ProducedChannels(
            count, from: first, areFeatures: true, of: values, gradients: gradients, statistics: statistics,
            featureMap: featureMap,
            in: reductionScratch)
    }

    /// Zeroes ΣG and ΣG·x̂. Call it before the first consumer of a backward pass.
    func clearGradientSums() {
        gradientSums.elements.update(repeating: 0)
        productSums.elements.update(repeating: 0)
    }

    /// Adds a consumer's part of ΣG and ΣG·x̂ for the channels that it reads.
    ///
    /// - Parameters:
    ///   - weight: the consumer's γ.
    ///   - sums: the consumer's dβ and dγ.
    func addGradientSums(weight: UnsafePointer<Float>, _ sums: ChannelSums) {
        for c in 0..<sums.channels {
            gradientSums.pointer[c] += Double(weight[c]) * sums.sum[c]
            productSums.pointer[c] += Double(weight[c]) * sums.productSum[c]
        }
    }

    /// All-reduces ΣG and ΣG·x̂ of produced channels and computes the coefficients of ∂L/∂x. Call it once all consumers
    /// have added to G. Collective.
    func synchronizeGradient(of produced: ProducedChannels, _ pass: PassContext) throws {
        for c in 0..<produced.count {
            produced.sums.sum[c] = gradientSums.pointer[produced.first + c]
            produced.sums.productSum[c] = productSums.pointer[produced.first + c]
        }
        try produced.synchronizeGradient(weight: nil, pass)
    }
}
