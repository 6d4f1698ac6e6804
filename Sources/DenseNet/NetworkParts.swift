import Kernels
import Support

/// A network's numbers that do not depend on the size of images, laid out as in its table. Networks for images of
/// different sizes may share them.
final class FlatBuffers {
    var parameters: AlignedBuffer<Float>
    /// Empty unless training.
    var gradients: AlignedBuffer<Float>
    var runningStatistics: AlignedBuffer<Float>

    /// - Parameter training: whether there are to be gradients.
    init(_ table: ParameterTable, training: Bool) {
        parameters = AlignedBuffer(count: table.parameterCount)
        gradients = AlignedBuffer(count: training ? table.parameterCount : 0)
        runningStatistics = AlignedBuffer(count: table.runningStatisticsCount)
    }
}

/// What a network's layers share: the flat buffers, the table of their contents, and the workspace.
final class SharedNetworkState {
    let configuration: DenseNetConfiguration
    let precision: Precision
    let table: ParameterTable
    let buffers: FlatBuffers
    /// The weight of a new batch in the running statistics; above 0, up to 1.
    var normMomentum = TrainableDenseNet.defaultNormMomentum
    let workspace: Workspace
    /// The clock of the calling thread.
    let clock = PhaseClock()

    var parameters: AlignedBuffer<Float> { buffers.parameters }
    var gradients: AlignedBuffer<Float> { buffers.gradients }
    var runningStatistics: AlignedBuffer<Float> { buffers.runningStatistics }

    /// - Parameter buffers: of a network of this shape; nil for new ones.
    init(
        _ configuration: DenseNetConfiguration, training: Bool, threads: Int, precision: Precision,
        buffers: FlatBuffers?
    ) {
        self.configuration = configuration
        self.precision = precision
        table = ParameterTable(configuration)
        self.buffers = buffers ?? FlatBuffers(table, training: training)
        workspace = Workspace(threads: threads)
    }
}

/// The layers of a network: stem, dense blocks with their layers and transitions, head.
///
/// `init` allocates all memory but starts no threads: `Workspace.start` does.
final class NetworkParts {
    let state: SharedNetworkState
    /// One per resolution.
    let featureMaps: [FeatureMap]
    let stem: any Stem
    let blocks: [DenseBlock]
    /// The layers of each block.
    let layers: [[any DenseLayer]]
    /// One after each block but the last.
    let transitions: [Transition]
    let head: Head
    /// The outputs of all layers' 1×1 convolutions, and the panels that the layers of a block share.
    let bottlenecks: [Panels]

    /// - Parameters:
    ///   - images: this rank's maximum number of images per pass, at least 1.
    ///   - buffers: of a network of this shape, for images of any size; nil for new ones.
    init(
        _ configuration: DenseNetConfiguration, images: Int, training: Bool, threads: Int, precision: Precision,
        buffers: FlatBuffers? = nil
    ) {
        let state = SharedNetworkState(
            configuration, training: training, threads: threads, precision: precision, buffers: buffers)
        let table = state.table
        func featureMap(_ size: Int) -> FeatureMap {
            FeatureMap(layout: PanelLayout(height: size, width: size, images: images))
        }
        let blocks = zip(configuration.blockSizes, configuration.blockChannels).map { size, channels in
            DenseBlock(
                featureMap: featureMap(size), channels: channels, images: images, training: training,
                precision: precision, reductionScratch: state.workspace.reductionScratch)
        }
        var featureMaps = blocks.map(\.featureMap)
        if let norm = table.stemNorm {
            featureMaps.append(featureMap(configuration.stemConvolutionSize))
            stem = ImageNetStem(
                table, norm: norm, featureMap: featureMaps[blocks.count], to: blocks[0], images: images,
                training: training,
                state: state)
        } else {
            stem = CIFARStem(table, to: blocks[0], state: state)
        }

        // For dropout, convolutions are numbered in the order of use; the stem's is 0.
        var number = 1
        var layers: [[any DenseLayer]] = []
        var transitions: [Transition] = []
        var bottlenecks: [Panels] = []
        for (b, block) in blocks.enumerated() {
            layers.append(
                Self.layers(
                    table.blocks[b], of: block, &number, &bottlenecks, images: images, training: training, state: state)
            )
            guard b + 1 < blocks.count else { break }
            transitions.append(
                Transition(
                    table.transitions[b], from: block, to: blocks[b + 1], images: images, number: number, state: state))
            number += 1
        }
        head = Head(table, of: blocks[blocks.count - 1], images: images, state: state)
        state.workspace.allocate(training: training, clock: state.clock)
        self.state = state
        self.blocks = blocks
        self.featureMaps = featureMaps
        self.layers = layers
        self.transitions = transitions
        self.bottlenecks = bottlenecks
    }

    private static func layers(
        _ parameters: [ParameterTable.DenseLayer], of block: DenseBlock, _ number: inout Int,
        _ bottlenecks: inout [Panels], images: Int, training: Bool, state: SharedNetworkState
    ) -> [any DenseLayer] {
        // Training keeps each bottleneck's output until backward. Their gradients, and evaluation, need one at a time.
        var shared: Panels?
        return parameters.map { parameters in
            switch parameters {
            case .plain(let parameters):
                defer { number += 1 }
                return PlainLayer(parameters, of: block, number: number, state: state)
            case .bottleneck(let parameters):
                defer { number += 2 }
                func panels() -> Panels {
                    let panels = Panels(
                        layout: block.featureMap.layout, channels: parameters.norm2.channels, images: images,
                        precision: state.precision)
                    bottlenecks.append(panels)
                    return panels
                }
                let common = shared ?? panels()
                shared = common
                return BottleneckLayer(
                    parameters, of: block, number: number, values: training ? panels() : common, gradients: common,
                    state: state)
            }
        }
    }

    /// The output of each convolution, in the order of `ParameterTable.convolutions`; with the ImageNet stem the output
    /// of its pool comes second.
    var produced: [ProducedChannels] {
        stem.produced
            + layers.indices.flatMap { b in
                layers[b].flatMap(\.produced) + (b < transitions.count ? [transitions[b].produced] : [])
            }
    }
}
