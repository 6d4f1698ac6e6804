import Glibc
import Kernels

/// A batch norm and ReLU on a dense block's first channels, with its own γ, β and running statistics but the block's
/// batch statistics.
final class SharedStatisticsNorm: NormalizedInput {
    let affine: ChannelAffine
    let block: DenseBlock
    private let parameters: NormParameters
    private let state: SharedNetworkState
    private let sums: ChannelSums

    init(_ parameters: NormParameters, of block: DenseBlock, state: SharedNetworkState) {
        self.parameters = parameters
        self.block = block
        self.state = state
        affine = ChannelAffine(channels: parameters.channels)
        sums = ChannelSums(channels: parameters.channels, in: state.workspace.reductionScratch)
        state.workspace.needs.reserve(.inputGradient, parameters.channels * block.featureMap.layout.lanes)
    }

    var channels: Int { parameters.channels }
    var featureMap: FeatureMap { block.featureMap }
    var values: Panels { block.values }

    /// Computes scale and shift from γ, β and the statistics.
    func prepare(_ pass: PassContext) {
        guard pass.training else { return affine.setFromRunning(parameters, state) }
        let layout = block.featureMap.layout
        affine.set(
            parameters, state, block.statistics, pixels: Double(pass.statisticsCount * layout.height * layout.width),
            pass.groups)
    }

    func beginGradient(_ task: PassTask) -> PartialSums { sums.begin(task: task.index, worker: task.worker.index) }

    func gradientRow(_ group: Int, _ y: Int, _ worker: WorkerSpace) -> UnsafeMutablePointer<Float> {
        worker.inputGradient.pointer
    }

    /// Adds γ·(masked gradient) of row `y` to G, and the row's part of dβ and dγ to `sums`.
    @inline(__always)
    func addGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: PartialSums) {
        backward(row, group, y, accumulate: true, to: sums)
    }

    /// As `addGradient`, but overwrites G: for the first consumer that backward reaches.
    @inline(__always)
    func setGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: PartialSums) {
        backward(row, group, y, accumulate: false, to: sums)
    }

    @inline(__always)
    private func backward(
        _ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, accumulate: Bool, to sums: PartialSums
    ) {
        reluBackward(
            row, values: block.values.numbers(group, y), affine: affine, lanes: block.featureMap.layout.lanes,
            mask: block.featureMap.mask(group), inverseDeviation: block.statistics.inverseDeviation.pointer,
            normalizedOffset: block.statistics.normalizedOffset.pointer,
            weight: state.parameters.pointer + parameters.weight.offset,
            accumulate: accumulate, into: block.gradients.numbers(group, y), sums: sums)
    }

    func gradientTarget(_ group: Int, _ y: Int) -> UnsafePointer<Float>? {
        block.gradients.numbers(group, y).memory
    }

    /// Writes this rank's dγ and dβ and adds the norm's part of ΣG and ΣG·x̂. Call it after all rows.
    func finishBackward() {
        sums.finish()
        state.writeGradients(parameters, sums)
        block.addGradientSums(weight: state.parameters.pointer + parameters.weight.offset, sums)
    }
}

/// A batch norm and ReLU on channels that nothing else reads.
final class BatchNorm: NormalizedInput {
    let affine: ChannelAffine
    let input: ProducedChannels
    private let parameters: NormParameters
    private let state: SharedNetworkState

    init(_ parameters: NormParameters, of input: ProducedChannels, state: SharedNetworkState) {
        precondition(
            input.first == 0 && input.count == parameters.channels,
            "a norm of \(parameters.channels) channels cannot read \(input.count) from \(input.first)")
        self.parameters = parameters
        self.input = input
        self.state = state
        affine = ChannelAffine(channels: parameters.channels)
        if input.gradients.precision == .bfloat16 {
            state.workspace.needs.reserve(.inputGradient, parameters.channels * input.layout.lanes)
        }
    }

    var channels: Int { parameters.channels }
    var featureMap: FeatureMap { input.featureMap }
    var values: Panels { input.values }

    /// Computes scale and shift from γ, β and the statistics; in training computes the batch statistics first.
    /// Collective in training.
    func prepare(_ pass: PassContext) throws {
        guard pass.training else { return affine.setFromRunning(parameters, state) }
        try input.synchronize(pass)
        affine.set(parameters, state, input.statistics, pixels: input.pixels(pass), pass.groups)
    }

    func beginGradient(_ task: PassTask) -> PartialSums {
        input.sums.begin(task: task.index, worker: task.worker.index)
    }

    func gradientRow(_ group: Int, _ y: Int, _ worker: WorkerSpace) -> UnsafeMutablePointer<Float> {
        input.gradients.numbers(group, y).place(orIn: worker.inputGradient)
    }

    /// Stores row `y` of the gradient, masked, and adds its part of dβ and dγ to `sums`.
    @inline(__always)
    func addGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: PartialSums) {
        reluBackward(
            row, values: input.values.numbers(group, y), affine: affine, lanes: input.layout.lanes,
            mask: input.featureMap.mask(group), inverseDeviation: input.statistics.inverseDeviation.pointer,
            normalizedOffset: input.statistics.normalizedOffset.pointer, into: input.gradients.numbers(group, y),
            sums: sums)
    }

    func gradientTarget(_ group: Int, _ y: Int) -> UnsafePointer<Float>? { nil }

    /// Writes this rank's dγ and dβ, then computes the coefficients of the input gradient. Call it after all rows.
    /// Collective.
    func finishBackward(_ pass: PassContext) throws {
        input.sums.finish()
        state.writeGradients(parameters, input.sums)
        try input.synchronizeGradient(weight: state.parameters.pointer + parameters.weight.offset, pass)
    }
}

extension ChannelAffine {
    /// Sets scale and shift from the batch statistics, and updates the running statistics, or has `groups` do so later;
    /// the running variance is unbiased, as in PyTorch.
    fileprivate func set(
        _ parameters: NormParameters, _ state: SharedNetworkState, _ statistics: ChannelStatistics, pixels: Double,
        _ groups: ImageGroups?
    ) {
        let (running, momentum) = (state.running(parameters), state.normMomentum)
        let unbiased = pixels > 1 ? pixels / (pixels - 1) : 1
        for c in 0..<channels {
            let mean = statistics.mean.pointer[c]
            let variance = statistics.variance.pointer[c]
            set(c, parameters, state, mean: mean, variance: variance)
            let gain = (mean: momentum * mean, variance: momentum * variance * unbiased)
            if let groups {
                groups.add(gain.mean, to: parameters.runningMean.offset + c)
                groups.add(gain.variance, to: parameters.runningVariance.offset + c)
            } else {
                running.mean[c] = Float((1 - momentum) * Double(running.mean[c]) + gain.mean)
                running.variance[c] = Float((1 - momentum) * Double(running.variance[c]) + gain.variance)
            }
        }
    }

    /// Sets scale and shift from the running statistics.
    fileprivate func setFromRunning(_ parameters: NormParameters, _ state: SharedNetworkState) {
        let running = state.running(parameters)
        for c in 0..<channels {
            set(c, parameters, state, mean: Double(running.mean[c]), variance: Double(running.variance[c]))
        }
    }

    /// scale = γ/√(variance + ε), shift = β − scale·mean. The scale is rounded to float32 first, so that its rounding
    /// scales deviations from the mean, never the mean itself.
    private func set(
        _ c: Int, _ parameters: NormParameters, _ state: SharedNetworkState, mean: Double, variance: Double
    ) {
        let weight = state.parameters.pointer[parameters.weight.offset + c]
        let bias = state.parameters.pointer[parameters.bias.offset + c]
        let scale = Float(Double(weight) / sqrt(variance + normEpsilon))
        self.scale.pointer[c] = scale
        shift.pointer[c] = Float(Double(bias) - Double(scale) * mean)
    }
}

extension SharedNetworkState {
    fileprivate func running(
        _ norm: NormParameters
    ) -> (mean: UnsafeMutablePointer<Float>, variance: UnsafeMutablePointer<Float>) {
        (runningStatistics.pointer + norm.runningMean.offset, runningStatistics.pointer + norm.runningVariance.offset)
    }

    /// Writes dγ and dβ to the flat gradient buffer.
    fileprivate func writeGradients(_ norm: NormParameters, _ sums: ChannelSums) {
        for c in 0..<norm.channels {
            gradients.pointer[norm.weight.offset + c] = Float(sums.productSum[c])
            gradients.pointer[norm.bias.offset + c] = Float(sums.sum[c])
        }
    }
}
