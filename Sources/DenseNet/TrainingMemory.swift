import Kernels

/// What one rank allocates before its first training step, in bytes: the buffers of `DenseNet` and the optimizer's
/// momenta.
///
/// It follows the rules by which the network allocates, without allocating. The data loader and MPI have their own
/// memory.
package struct TrainingMemory: Sendable, Equatable {
    /// The blocks' raw features and the gradients of their normalised features.
    package private(set) var features = 0
    /// The 1×1 convolutions' outputs of all dense layers, and a gradient of one a block.
    package private(set) var bottlenecks = 0
    /// The transitions' pooled activations.
    package private(set) var pooled = 0
    /// The ImageNet stem's output and its gradient.
    package private(set) var stem = 0
    /// Logits and pooled features with their gradients.
    package private(set) var head = 0
    /// Sums, statistics and affine functions, a channel each.
    package private(set) var channels = 0
    /// What the layers use in turn.
    package private(set) var workspace = 0
    package let parameters: Int
    package let gradients: Int
    package let momenta: Int
    package let runningStatistics: Int
    /// Address space, no memory, that it takes to have the large buffers begin at whole huge pages.
    let alignment: Int

    /// What grows with the batch.
    package var activations: Int { features + bottlenecks + pooled + stem + head }

    package var total: Int { activations + channels + workspace + parameters + gradients + momenta + runningStatistics }

    init(_ configuration: DenseNetConfiguration, _ table: ParameterTable, images: Int, threads: Int = 1) {
        parameters = Self.buffer(table.learntCount)
        gradients = parameters
        momenta = parameters
        runningStatistics = Self.buffer(table.statisticsCount)
        let layouts = configuration.blockSizes.map { PanelLayout(height: $0, width: $0, images: images) }
        let stemSize = configuration.stemConvolutionSize
        let stemLayout = PanelLayout(height: stemSize, width: stemSize, images: images)
        // Parameters, gradients, momenta, and the copies of a checkpoint.
        var large = parameters < Self.hugePage ? 0 : 5
        func panels(_ layout: PanelLayout, _ channels: Int, count: Int = 1) -> Int {
            let bytes = Self.buffer(layout.groups(images) * layout.height * channels * layout.lanes)
            if bytes >= Self.hugePage { large += count }
            return count * bytes
        }
        for (b, layout) in layouts.enumerated() {
            let channels = configuration.blockChannels[b]
            features += panels(layout, channels, count: 2)
            if configuration.bottleneck {
                bottlenecks += panels(layout, 4 * configuration.growthRate, count: table.blocks[b].count + 1)
            }
            if b + 1 < layouts.count { pooled += panels(layouts[b + 1], channels) }
        }
        if let norm = table.stemNorm { stem = panels(stemLayout, norm.channels, count: 2) }
        head = 2 * Self.buffer(images * configuration.classes) + 2 * Self.buffer(images * table.finalNorm.channels)
        channels = Self.channelBytes(configuration, table)
        let (needs, sumChannels) = Self.workspaceNeeds(configuration, table, layouts, stemLayout)
        workspace = needs.bytes(threads: threads) + SumSpace.bytes(channels: sumChannels, workers: threads)
        large += needs.buffers(threads: threads, withAtLeast: Self.hugePage / MemoryLayout<Float>.stride)
        alignment = large * Self.hugePage
    }

    /// The bytes of features and parameters alone, which any configuration can be asked for: `Int` would not hold those
    /// of some.
    static func leastBytes(_ configuration: DenseNetConfiguration, images: Int) -> Double {
        var floats = 3 * Double(ParameterTable.count(configuration).learnt)
        for (b, size) in configuration.blockSizes.enumerated() {
            let bottlenecks =
                configuration.bottleneck ? 4 * Double((configuration.blocks[b] + 1) * configuration.growthRate) : 0
            floats += Double(images) * Double(size * size) * (2 * Double(configuration.blockChannels[b]) + bottlenecks)
        }
        return floats * Double(MemoryLayout<Float>.stride)
    }

    private static let hugePage = 2 << 20

    /// Bytes of an `AlignedBuffer` of floats: those of 2 MiB and more consist of whole huge pages.
    private static func buffer(_ count: Int) -> Int {
        let bytes = count * MemoryLayout<Float>.stride
        return bytes < hugePage ? bytes : (bytes + hugePage - 1) / hugePage * hugePage
    }

    private static func channelBytes(_ configuration: DenseNetConfiguration, _ table: ParameterTable) -> Int {
        let float = MemoryLayout<Float>.stride
        let double = MemoryLayout<Double>.stride
        let sums = 2 * double
        let affine = 2 * float
        let closing = 3 * float
        let reader = affine + sums
        let producer = sums + closing
        let own = reader + closing + 2 * (double + float)
        var bytes =
            configuration.blockChannels.reduce(0, +) * (4 * double + 2 * float) + table.finalNorm.channels * reader
        for layer in table.blocks.joined() {
            bytes += layer.norm1.channels * reader + configuration.growthRate * producer
            if let norm2 = layer.norm2 { bytes += norm2.channels * own }
        }
        for transition in table.transitions {
            bytes += transition.norm.channels * reader + transition.conv.shape[0] * producer
        }
        if let norm = table.stemNorm { bytes += norm.channels * own }
        return bytes + configuration.stemChannels * producer
    }

    /// What the layers ask for. The last layer of a block needs the most of it, but for Winograd's scratch, which is
    /// cut to the cache.
    private static func workspaceNeeds(
        _ configuration: DenseNetConfiguration, _ table: ParameterTable, _ layouts: [PanelLayout],
        _ stemLayout: PanelLayout
    ) -> (needs: WorkspaceNeeds, sumChannels: Int) {
        var needs = WorkspaceNeeds()
        var sumChannels = max(table.finalNorm.channels, configuration.growthRate)
        needs.reserve(pointwise: table.stemConvolution, lanes: stemLayout.lanes)
        needs.reserve(.activation, table.stemConvolution.count / configuration.stemChannels * stemLayout.lanes)
        if let norm = table.stemNorm { needs.reserve(.gradient, norm.channels * layouts[0].lanes) }
        for (b, layout) in layouts.enumerated() {
            guard let last = table.blocks[b].last else { continue }
            if let conv2 = last.conv2 {
                needs.reserve(pointwise: last.conv1, lanes: layout.lanes)
                needs.reserve(spatial: conv2, layout: layout)
                needs.reserve(.activation, last.norm1.channels * layout.lanes)
                needs.reserve(.inputGradient, last.norm1.channels * layout.lanes)
            } else {
                for layer in table.blocks[b] { needs.reserve(spatial: layer.conv1, layout: layout) }
                needs.reserve(.gradient, RowWinograd.rows * last.norm1.channels * layout.lanes)
            }
            // The norm behind the block: the transition's or norm5.
            needs.reserve(.inputGradient, configuration.blockChannels[b] * layout.lanes)
            sumChannels = max(sumChannels, configuration.blockChannels[b], last.norm2?.channels ?? 0)
            if b < table.transitions.count {
                needs.reserve(pointwise: table.transitions[b].conv, lanes: layouts[b + 1].lanes)
                needs.reserve(.lanes, layout.lanes)
            }
        }
        return (needs, sumChannels)
    }
}
