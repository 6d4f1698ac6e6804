import Glibc
import Kernels
import Support

/// What batch norm adds to the variance; PyTorch's and the papers' value.
let normEpsilon = 1e-5
/// The share of a new batch's statistics in the running ones.
let normMomentum = 0.1

/// The batch statistics of channels, summed over ranks: x̂ = x·inverse + offset.
final class ChannelStatistics {
    let mean: AlignedBuffer<Double>
    let variance: AlignedBuffer<Double>
    let inverse: AlignedBuffer<Float>
    let offset: AlignedBuffer<Float>
    /// Whether this rank's part of a channel's sums was finite, in float32, which the running statistics have.
    let ownIsFinite: AlignedBuffer<Bool>

    init(channels: Int) {
        mean = AlignedBuffer(count: channels)
        variance = AlignedBuffer(count: channels)
        inverse = AlignedBuffer(count: channels)
        offset = AlignedBuffer(count: channels)
        ownIsFinite = AlignedBuffer(count: channels)
    }

    /// Takes the statistics of channels from the sums and squares that tasks gathered. Collective.
    func set(channelsFrom first: Int, _ sums: ChannelSums, chunks: Int, pixels: Double, _ pass: Pass) throws {
        sums.finish(chunks: chunks)
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

    /// Sets how the gradient of the channels is made, from this rank's sums of gradients and products. Collective.
    ///
    /// - Parameter weight: γ of each channel; nil where the gradient is already that of x̂.
    func close(
        channelsFrom first: Int, _ sums: ChannelSums, weight: UnsafePointer<Float>?, pixels: Double,
        into backward: NormBackward, _ pass: Pass
    ) throws {
        try pass.sumOverRanks(sums.all)
        for c in 0..<backward.channels {
            backward.set(
                c, weight: weight.map { Double($0[c]) } ?? 1, mean: mean.pointer[first + c],
                inverse: 1 / sqrt(variance.pointer[first + c] + normEpsilon), meanGradient: sums.first[c] / pixels,
                meanProduct: sums.second[c] / pixels)
        }
    }
}

/// A resolution's features with the statistics that all their readers share.
///
/// All layers of a dense block, and the norm behind it, read prefixes of the same channels and normalise them by the
/// same mean and variance; only γ and β differ. So a channel's statistics are taken (and summed over ranks) once, when
/// its producer has written it. Backward, each reader adds γ·(its masked gradient) to G, the gradient of the normalised
/// feature, and the producer applies batch norm's backward once, when all readers have added theirs. It is exact, not
/// an approximation.
final class FeatureBlock {
    let stage: Stage
    let channels: Int
    /// The raw features, X.
    let values: Panels
    /// The gradient of the normalised features, G; training only.
    let gradients: Panels?
    let statistics: ChannelStatistics
    /// This rank's ΣG and ΣG·x̂ of each channel. They come from the readers' dβ and dγ: ΣG = Σ γ·dβ, ΣG·x̂ = Σ γ·dγ.
    private let gradientSums: AlignedBuffer<Double>
    private let productSums: AlignedBuffer<Double>

    init(stage: Stage, channels: Int, images: Int, training: Bool) {
        self.stage = stage
        self.channels = channels
        values = Panels(layout: stage.layout, channels: channels, images: images)
        gradients = training ? Panels(layout: stage.layout, channels: channels, images: images) : nil
        statistics = ChannelStatistics(channels: channels)
        gradientSums = AlignedBuffer(count: channels)
        productSums = AlignedBuffer(count: channels)
    }

    var layout: PanelLayout { stage.layout }

    /// Pixels of the global batch: what every sum is divided by.
    func pixels(_ pass: Pass) -> Double { Double(pass.globalCount * layout.height * layout.width) }

    /// The panel after row `y` of a group, in the order in which passes go through them; nil after the last.
    func panelAfter(_ group: Int, _ y: Int, in panels: Panels) -> UnsafePointer<Float>? {
        if y + 1 < layout.height { return UnsafePointer(panels.panel(group, y + 1)) }
        return group + 1 < stage.groups ? UnsafePointer(panels.panel(group + 1, 0)) : nil
    }

    /// Takes the statistics of new channels from the sums and squares that tasks gathered. Collective.
    func setStatistics(ofChannelsFrom first: Int, _ sums: ChannelSums, _ pass: Pass) throws {
        try statistics.set(channelsFrom: first, sums, chunks: stage.chunks.count, pixels: pixels(pass), pass)
    }

    /// Before backward: no reader has added anything.
    func clearGradientSums() {
        gradientSums.elements.update(repeating: 0)
        productSums.elements.update(repeating: 0)
    }

    /// A reader has added its γ-weighted gradients of the first channels to G; these are its dβ and dγ.
    func addGradientSums(
        weight: UnsafePointer<Float>, biasGradient: UnsafePointer<Double>, weightGradient: UnsafePointer<Double>,
        count: Int
    ) {
        for c in 0..<count {
            gradientSums.pointer[c] += Double(weight[c]) * biasGradient[c]
            productSums.pointer[c] += Double(weight[c]) * weightGradient[c]
        }
    }

    /// All readers have added theirs: how the gradient of the raw channels comes from G. Collective.
    func closeGradient(ofChannelsFrom first: Int, _ sums: ChannelSums, into backward: NormBackward, _ pass: Pass) throws
    {
        let count = backward.channels
        for c in 0..<count {
            sums.first[c] = gradientSums.pointer[first + c]
            sums.second[c] = productSums.pointer[first + c]
        }
        try statistics.close(channelsFrom: first, sums, weight: nil, pixels: pixels(pass), into: backward, pass)
    }
}

/// One batch norm that reads the first channels of a block: its γ, β, running statistics, and its part of backward.
final class FeatureNorm {
    let affine: ChannelAffine
    private let parameters: NormParameters
    private let state: NetworkState
    private let sums: ChannelSums
    private unowned let block: FeatureBlock

    init(_ parameters: NormParameters, of block: FeatureBlock, state: NetworkState) {
        self.parameters = parameters
        self.block = block
        self.state = state
        affine = ChannelAffine(channels: parameters.channels)
        sums = ChannelSums(channels: parameters.channels, in: state.workspace.sumSpace)
    }

    var channels: Int { parameters.channels }

    /// Sets the affine function: from the shared statistics in training (and moves the running ones), else from the
    /// running ones.
    func prepare(_ pass: Pass) {
        if pass.training {
            setAffine(
                affine, parameters, state, mean: block.statistics.mean.pointer,
                variance: block.statistics.variance.pointer)
            updateRunning(
                parameters, state, mean: block.statistics.mean.pointer, variance: block.statistics.variance.pointer,
                pixels: block.pixels(pass))
        } else {
            setAffineFromRunning(affine, parameters, state)
        }
    }

    /// A task's empty sums of dβ and dγ.
    func beginBackward(chunk: Int, _ worker: WorkerSpace) -> PartialSums {
        sums.begin(chunk: chunk, worker: worker.index)
    }

    /// Masks a gradient panel of the activated channels where the ReLU was shut, adds γ times it to G (`accumulate`, or
    /// puts it there) and adds up dβ and dγ.
    func backwardPanel(_ gradient: UnsafePointer<Float>, group: Int, row: Int, accumulate: Bool, sums: PartialSums) {
        guard let into = block.gradients else { preconditionFailure("backward of an evaluating network") }
        reluBackward(
            gradient, values: block.values.panel(group, row), affine: affine, lanes: block.layout.lanes,
            mask: block.stage.mask(group), inverse: block.statistics.inverse.pointer,
            offset: block.statistics.offset.pointer, weight: state.parameters.pointer + parameters.weight.offset,
            accumulate: accumulate, into: into.panel(group, row), sums: sums)
    }

    /// All tasks are done: writes dγ and dβ of this rank into the flat gradients and passes them on to the block.
    func endBackward() {
        sums.finish(chunks: block.stage.chunks.count)
        writeGradients(parameters, state, weight: sums.second, bias: sums.first)
        block.addGradientSums(
            weight: state.parameters.pointer + parameters.weight.offset, biasGradient: sums.first,
            weightGradient: sums.second, count: channels)
    }
}

/// A batch norm whose input nobody else reads: behind a bottleneck's 1×1 convolution and behind the ImageNet stem's.
final class OwnNorm {
    let affine: ChannelAffine
    let backward: NormBackward
    let sums: ChannelSums
    private let parameters: NormParameters
    private let state: NetworkState
    let statistics: ChannelStatistics

    init(_ parameters: NormParameters, state: NetworkState) {
        let channels = parameters.channels
        self.parameters = parameters
        self.state = state
        affine = ChannelAffine(channels: channels)
        backward = NormBackward(channels: channels)
        sums = ChannelSums(channels: channels, in: state.workspace.sumSpace)
        statistics = ChannelStatistics(channels: channels)
    }

    var channels: Int { parameters.channels }

    /// Sets the affine function: in training from the sums and squares that tasks gathered in `sums`. Collective in
    /// training.
    func prepare(pixels: Double, chunks: Int, _ pass: Pass) throws {
        guard pass.training else { return setAffineFromRunning(affine, parameters, state) }
        try statistics.set(channelsFrom: 0, sums, chunks: chunks, pixels: pixels, pass)
        setAffine(affine, parameters, state, mean: statistics.mean.pointer, variance: statistics.variance.pointer)
        updateRunning(
            parameters, state, mean: statistics.mean.pointer, variance: statistics.variance.pointer, pixels: pixels)
    }

    /// Masks a gradient panel in place where the ReLU was shut and adds up dβ and dγ.
    func backwardPanel(
        _ gradient: UnsafeMutablePointer<Float>, values: UnsafePointer<Float>, lanes: Int, mask: UnsafePointer<Float>?,
        sums: PartialSums
    ) {
        reluBackward(
            gradient, values: values, affine: affine, lanes: lanes, mask: mask, inverse: statistics.inverse.pointer,
            offset: statistics.offset.pointer,
            sums: sums)
    }

    /// All tasks are done: dγ and dβ of this rank go into the flat gradients, and over all ranks' sums comes how the
    /// gradient of the values is made of the masked one. Collective.
    func closeBackward(pixels: Double, chunks: Int, _ pass: Pass) throws {
        sums.finish(chunks: chunks)
        writeGradients(parameters, state, weight: sums.second, bias: sums.first)
        try statistics.close(
            channelsFrom: 0, sums, weight: state.parameters.pointer + parameters.weight.offset, pixels: pixels,
            into: backward, pass)
    }
}

/// scale = γ/√(variance + ε), shift = β − scale·mean, with the scale as float32 has it: its rounding then scales
/// deviations from the mean, never the mean itself.
private func setAffine(
    _ affine: ChannelAffine, _ parameters: NormParameters, _ state: NetworkState, mean: UnsafePointer<Double>,
    variance: UnsafePointer<Double>
) {
    let weight = state.parameters.pointer + parameters.weight.offset
    let bias = state.parameters.pointer + parameters.bias.offset
    for c in 0..<parameters.channels {
        let scale = Float(Double(weight[c]) / sqrt(variance[c] + normEpsilon))
        affine.scale.pointer[c] = scale
        affine.shift.pointer[c] = Float(Double(bias[c]) - Double(scale) * mean[c])
    }
}

private func setAffineFromRunning(_ affine: ChannelAffine, _ parameters: NormParameters, _ state: NetworkState) {
    let weight = state.parameters.pointer + parameters.weight.offset
    let bias = state.parameters.pointer + parameters.bias.offset
    let mean = state.statistics.pointer + parameters.runningMean.offset
    let variance = state.statistics.pointer + parameters.runningVariance.offset
    for c in 0..<parameters.channels {
        let scale = Float(Double(weight[c]) / sqrt(Double(variance[c]) + normEpsilon))
        affine.scale.pointer[c] = scale
        affine.shift.pointer[c] = Float(Double(bias[c]) - Double(scale) * Double(mean[c]))
    }
}

/// Moves the running statistics towards the batch's; the running variance is the unbiased one, as in PyTorch.
private func updateRunning(
    _ parameters: NormParameters, _ state: NetworkState, mean: UnsafePointer<Double>, variance: UnsafePointer<Double>,
    pixels: Double
) {
    let runningMean = state.statistics.pointer + parameters.runningMean.offset
    let runningVariance = state.statistics.pointer + parameters.runningVariance.offset
    let unbiased = pixels > 1 ? pixels / (pixels - 1) : 1
    for c in 0..<parameters.channels {
        runningMean[c] = Float((1 - normMomentum) * Double(runningMean[c]) + normMomentum * mean[c])
        runningVariance[c] = Float(
            (1 - normMomentum) * Double(runningVariance[c]) + normMomentum * variance[c] * unbiased)
    }
}

private func writeGradients(
    _ parameters: NormParameters, _ state: NetworkState, weight: UnsafePointer<Double>, bias: UnsafePointer<Double>
) {
    let weightGradient = state.gradients.pointer + parameters.weight.offset
    let biasGradient = state.gradients.pointer + parameters.bias.offset
    for c in 0..<parameters.channels {
        weightGradient[c] = Float(weight[c])
        biasGradient[c] = Float(bias[c])
    }
}
