import Glibc
import Kernels

/// A batch norm of a dense block's first channels, with the ReLU behind it: its own γ, β and running statistics, but
/// the block's batch statistics.
final class SharedStatisticsNorm: NormalizedInput {
    let affine: ChannelAffine
    let block: DenseBlock
    private let parameters: NormParameters
    private let state: NetworkState
    private let sums: ChannelSums

    init(_ parameters: NormParameters, of block: DenseBlock, state: NetworkState) {
        self.parameters = parameters
        self.block = block
        self.state = state
        affine = ChannelAffine(channels: parameters.channels)
        sums = ChannelSums(channels: parameters.channels, in: state.workspace.sumSpace)
        state.workspace.needs.reserve(.inputGradient, parameters.channels * block.featureMap.layout.lanes)
    }

    var channels: Int { parameters.channels }
    var featureMap: FeatureMap { block.featureMap }
    var values: Panels { block.values }

    /// γ, β and statistics → scale and shift.
    func prepare(_ pass: PassContext) {
        guard pass.training else { return affine.setFromRunning(parameters, state) }
        let layout = block.featureMap.layout
        affine.set(
            parameters, state, block.statistics, pixels: Double(pass.globalCount * layout.height * layout.width))
    }

    func beginGradient(_ task: PassTask) -> PartialSums { sums.begin(task: task.index, worker: task.worker.index) }

    func gradientRow(_ group: Int, _ y: Int, _ worker: WorkerSpace) -> UnsafeMutablePointer<Float> {
        worker.inputGradient.pointer
    }

    /// Adds γ·(the masked gradient) of row `y` to G, and dβ and dγ to `sums`.
    @inline(__always)
    func addGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: PartialSums) {
        backward(row, group, y, accumulate: true, to: sums)
    }

    /// The same for the first consumer that backward reaches, which overwrites what G held.
    @inline(__always)
    func setGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: PartialSums) {
        backward(row, group, y, accumulate: false, to: sums)
    }

    @inline(__always)
    private func backward(
        _ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, accumulate: Bool, to sums: PartialSums
    ) {
        reluBackward(
            row, values: block.values.panel(group, y), affine: affine, lanes: block.featureMap.layout.lanes,
            mask: block.featureMap.mask(group), inverse: block.statistics.inverse.pointer,
            offset: block.statistics.offset.pointer, weight: state.parameters.pointer + parameters.weight.offset,
            accumulate: accumulate, into: block.gradients.panel(group, y), sums: sums)
    }

    func gradientTarget(_ group: Int, _ y: Int) -> UnsafePointer<Float>? {
        UnsafePointer(block.gradients.panel(group, y))
    }

    /// All rows are done: writes this rank's dγ and dβ and adds the norm's part of ΣG and ΣG·x̂.
    func finishBackward() {
        sums.finish(tasks: block.featureMap.tasks.count)
        state.writeGradients(parameters, sums)
        block.addGradientSums(weight: state.parameters.pointer + parameters.weight.offset, sums)
    }
}

/// A batch norm with the ReLU behind it, of channels that nothing else reads.
final class BatchNorm: NormalizedInput {
    let affine: ChannelAffine
    let input: ProducedChannels
    private let parameters: NormParameters
    private let state: NetworkState

    init(_ parameters: NormParameters, of input: ProducedChannels, state: NetworkState) {
        precondition(input.first == 0 && input.count == parameters.channels, "a norm of other channels")
        self.parameters = parameters
        self.input = input
        self.state = state
        affine = ChannelAffine(channels: parameters.channels)
    }

    var channels: Int { parameters.channels }
    var featureMap: FeatureMap { input.featureMap }
    var values: Panels { input.values }

    /// γ, β and statistics → scale and shift. Collective in training, where the statistics are computed first.
    func prepare(_ pass: PassContext) throws {
        guard pass.training else { return affine.setFromRunning(parameters, state) }
        try input.synchronize(pass)
        affine.set(parameters, state, input.statistics, pixels: input.pixels(pass))
    }

    func beginGradient(_ task: PassTask) -> PartialSums {
        input.sums.begin(task: task.index, worker: task.worker.index)
    }

    func gradientRow(_ group: Int, _ y: Int, _ worker: WorkerSpace) -> UnsafeMutablePointer<Float> {
        input.gradients.panel(group, y)
    }

    /// Masks row `y` of the gradient in place and adds dβ and dγ to `sums`.
    @inline(__always)
    func addGradient(_ row: UnsafeMutablePointer<Float>, _ group: Int, _ y: Int, to sums: PartialSums) {
        reluBackward(
            row, values: input.values.panel(group, y), affine: affine, lanes: input.layout.lanes,
            mask: input.featureMap.mask(group), inverse: input.statistics.inverse.pointer,
            offset: input.statistics.offset.pointer, sums: sums)
    }

    func gradientTarget(_ group: Int, _ y: Int) -> UnsafePointer<Float>? { nil }

    /// All rows are done: writes this rank's dγ and dβ, then computes how the input's gradient follows from the masked
    /// one. Collective.
    func finishBackward(_ pass: PassContext) throws {
        input.sums.finish(tasks: input.featureMap.tasks.count)
        state.writeGradients(parameters, input.sums)
        try input.synchronizeGradient(weight: state.parameters.pointer + parameters.weight.offset, pass)
    }
}

extension ChannelAffine {
    /// scale = γ/√(variance + ε), shift = β − scale·mean, with the scale rounded to float32 first: its rounding then
    /// scales deviations from the mean, never the mean itself. Also moves the running statistics towards the batch's;
    /// the running variance is the unbiased one, as in PyTorch.
    fileprivate func set(
        _ parameters: NormParameters, _ state: NetworkState, _ statistics: ChannelStatistics, pixels: Double
    ) {
        let running = state.runningStatistics(parameters)
        let unbiased = pixels > 1 ? pixels / (pixels - 1) : 1
        for c in 0..<channels {
            let mean = statistics.mean.pointer[c]
            let variance = statistics.variance.pointer[c]
            set(c, parameters, state, mean: mean, variance: variance)
            running.mean[c] = Float((1 - normMomentum) * Double(running.mean[c]) + normMomentum * mean)
            running.variance[c] = Float(
                (1 - normMomentum) * Double(running.variance[c]) + normMomentum * variance * unbiased)
        }
    }

    /// The same from the running statistics.
    fileprivate func setFromRunning(_ parameters: NormParameters, _ state: NetworkState) {
        let running = state.runningStatistics(parameters)
        for c in 0..<channels {
            set(c, parameters, state, mean: Double(running.mean[c]), variance: Double(running.variance[c]))
        }
    }

    private func set(_ c: Int, _ parameters: NormParameters, _ state: NetworkState, mean: Double, variance: Double) {
        let weight = state.parameters.pointer[parameters.weight.offset + c]
        let bias = state.parameters.pointer[parameters.bias.offset + c]
        let scale = Float(Double(weight) / sqrt(variance + normEpsilon))
        self.scale.pointer[c] = scale
        shift.pointer[c] = Float(Double(bias) - Double(scale) * mean)
    }
}

extension NetworkState {
    fileprivate func runningStatistics(
        _ norm: NormParameters
    ) -> (mean: UnsafeMutablePointer<Float>, variance: UnsafeMutablePointer<Float>) {
        (statistics.pointer + norm.runningMean.offset, statistics.pointer + norm.runningVariance.offset)
    }

    /// Writes dβ and dγ into the flat gradients.
    fileprivate func writeGradients(_ norm: NormParameters, _ sums: ChannelSums) {
        for c in 0..<norm.channels {
            gradients.pointer[norm.weight.offset + c] = Float(sums.second[c])
            gradients.pointer[norm.bias.offset + c] = Float(sums.first[c])
        }
    }
}
