import Kernels
import Support

/// The numbers that a network's layers share: flat buffers with one table of names, shapes and places.
final class NetworkState {
    let configuration: DenseNetConfiguration
    let precision: Precision
    let table: ParameterTable
    let parameters: AlignedBuffer<Float>
    /// Empty unless training.
    let gradients: AlignedBuffer<Float>
    let statistics: AlignedBuffer<Float>
    let workspace: Workspace
    /// Where this rank's time goes, as its calling thread sees it.
    let clock = PhaseClock()

    init(_ configuration: DenseNetConfiguration, training: Bool, threads: Int, precision: Precision) {
        self.configuration = configuration
        self.precision = precision
        table = ParameterTable(configuration)
        parameters = AlignedBuffer(count: table.parameterCount)
        gradients = AlignedBuffer(count: training ? table.parameterCount : 0)
        statistics = AlignedBuffer(count: table.statisticsCount)
        workspace = Workspace(threads: threads)
    }
}

/// A network as it is built: stem, dense blocks with their layers and transitions, head.
///
/// All memory is allocated here, but no thread is started: `Workspace.start` does that.
final class NetworkParts {
    let state: NetworkState
    /// All resolutions.
    let featureMaps: [FeatureMap]
    let stem: any Stem
    let blocks: [DenseBlock]
    /// Of each block.
    let layers: [[any DenseLayer]]
    /// Behind each block but the last.
    let transitions: [Transition]
    let head: Head
    /// The 1×1 convolutions' outputs of all layers, and the panels that the layers of a block share.
    let bottlenecks: [Panels]

    /// - Parameter images: of the largest pass of this rank, at least 1.
    init(
        _ configuration: DenseNetConfiguration, images: Int, training: Bool, threads: Int, precision: Precision
    ) {
        let state = NetworkState(configuration, training: training, threads: threads, precision: precision)
        let table = state.table
        func featureMap(_ size: Int) -> FeatureMap {
            FeatureMap(layout: PanelLayout(height: size, width: size, images: images))
        }
        let blocks = zip(configuration.blockSizes, configuration.blockChannels).map { size, channels in
            DenseBlock(
                featureMap: featureMap(size), channels: channels, images: images, training: training,
                sumSpace: state.workspace.sumSpace)
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

        // Convolutions are numbered in the order of use, for dropout; the stem's is 0.
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
        _ bottlenecks: inout [Panels], images: Int, training: Bool, state: NetworkState
    ) -> [any DenseLayer] {
        // Training keeps each layer's bottleneck until backward; their gradients, and evaluation, need one at a time.
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
                        layout: block.featureMap.layout, channels: parameters.norm2.channels, images: images)
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

    /// What each convolution writes, in the order of `ParameterTable.convolutions`; with the ImageNet stem, what its
    /// pool writes comes second.
    var produced: [ProducedChannels] {
        stem.produced
            + layers.indices.flatMap { b in
                layers[b].flatMap(\.produced) + (b < transitions.count ? [transitions[b].produced] : [])
            }
    }
}
