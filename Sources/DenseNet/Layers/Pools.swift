import Kernels

/// A transition's 2×2 average pool of max(0, affine(x)); an odd last row or column is dropped.
final class AveragePool {
    private let source: FeatureMap
    private let target: FeatureMap
    private let kernel: AveragePoolKernel
    private let state: SharedNetworkState

    init(source: FeatureMap, target: FeatureMap, state: SharedNetworkState) {
        self.source = source
        self.target = target
        self.state = state
        kernel = AveragePoolKernel(source: source, target: target.layout)
        state.workspace.needs.reserve(.lanes, source.layout.lanes)
    }

    func forward(_ input: SharedStatisticsNorm, into pooled: Panels) {
        // The pool writes valid lanes only. What an earlier batch left in the padding is multiplied by zero gradients,
        // so it must be finite.
        for group in 0..<target.groups where target.mask(group) != nil { pooled.clear(group: group) }
        state.workspace.forEachTask(of: source, cutAt: RowUnits(height: target.layout.height)) { task in
            task.worker.clock.enter(.pool)
            for group in task.groups {
                for y in task.rows {
                    kernel.forward(
                        input.values, input.affine, group: group, y: y, into: pooled,
                        scratch: task.worker.lanes.pointer)
                }
            }
        }
    }

    /// Sets the gradient of the norm's channels from that of the pooled channels.
    func backward(_ gradient: Panels, to input: SharedStatisticsNorm) {
        input.block.clearGradientSums()
        state.workspace.forEachTask(of: source, cutAt: RowUnits(height: source.layout.height, inRunsOf: 2)) { task in
            let sums = input.beginGradient(task)
            for group in task.groups {
                for y in task.rows {
                    // Two rows share the gradient of one pooled row.
                    let row = input.gradientRow(group, y, task.worker)
                    task.worker.clock.enter(.pool)
                    if y % 2 == 0 { kernel.backward(gradient, group: group, y: y / 2, into: row) }
                    task.worker.clock.enter(.norm)
                    input.setGradient(row, group, y, to: sums)
                }
                input.endGroup(sums)
            }
        }
    }
}

/// The ImageNet stem's 3×3 max pool, stride 2, padding 1, of max(0, affine(x)).
final class MaxPool {
    private let source: FeatureMap
    private let target: FeatureMap
    private let kernel: MaxPoolKernel
    private let state: SharedNetworkState

    init(source: FeatureMap, target: FeatureMap, channels: Int, state: SharedNetworkState) {
        self.source = source
        self.target = target
        self.state = state
        kernel = MaxPoolKernel(source: source, target: target.layout)
        state.workspace.needs.reserve(.columns, MaxPoolKernel.scratchCount(source.layout))
    }

    /// Also sums the output where its batch statistics are taken.
    func forward(_ input: BatchNorm, into output: ProducedChannels, _ pass: PassContext) {
        state.workspace.forEachTask(of: source, cutAt: RowUnits(height: target.layout.height)) { task in
            task.worker.clock.enter(.pool)
            for group in task.groups {
                for y in task.rows {
                    kernel.forward(
                        input.values, input.affine, group: group, y: y, into: output.values,
                        scratch: task.worker.columns.pointer)
                }
            }
        }
        guard output.isSummed(pass) else { return }
        state.workspace.forEachTask(of: target) { task in
            let sums = output.sums.begin(task: task.index, worker: task.worker.index)
            task.worker.clock.enter(.norm)
            for group in task.groups {
                for y in task.rows {
                    addSums(
                        output.row(group, y), lanes: target.layout.lanes, mask: target.mask(group), to: sums)
                }
                sums.flushValues()
            }
        }
    }

    /// Computes the gradient of the pool's input, masked by the norm's ReLU.
    func backward(from output: ProducedChannels, to input: BatchNorm) {
        state.workspace.forEachTask(of: target) { task in
            task.worker.clock.enter(.norm)
            for group in task.groups {
                // In place: nothing else reads G of these channels.
                for y in task.rows {
                    output.writeInputGradient(
                        group, y, into: output.gradients.numbers(group, y), stride: target.layout.lanes)
                }
            }
        }
        // Windows overlap: neighbouring rows of a group add to the same memory.
        let whole = RowUnits(height: source.layout.height, inRunsOf: source.layout.height)
        state.workspace.forEachTask(of: source, cutAt: whole) { task in
            let sums = input.beginGradient(task)
            for group in task.groups {
                var finished = 0
                for y in 0..<target.layout.height {
                    task.worker.clock.enter(.pool)
                    kernel.backward(
                        output.gradients, group: group, y: y, input.values, input.affine, into: input.input.gradients,
                        scratch: task.worker.columns.pointer)
                    // The next row of windows adds to row 2y + 1.
                    task.worker.clock.enter(.norm)
                    let end = y + 1 < target.layout.height ? 2 * y + 1 : source.layout.height
                    for row in finished..<end {
                        input.addGradient(input.gradientRow(group, row, task.worker), group, row, to: sums)
                    }
                    finished = end
                }
                input.endGroup(sums)
            }
        }
    }
}

/// The head's average over all pixels of max(0, affine(x)).
final class GlobalAveragePool {
    private let featureMap: FeatureMap
    private let state: SharedNetworkState

    init(_ featureMap: FeatureMap, state: SharedNetworkState) {
        self.featureMap = featureMap
        self.state = state
    }

    /// - Parameter features: shape [images][channels].
    func forward(_ input: SharedStatisticsNorm, into features: UnsafeMutablePointer<Float>) {
        let layout = featureMap.layout
        let channels = input.channels
        let factor = 1 / Float(layout.height * layout.width)
        let whole = RowUnits(height: layout.height, inRunsOf: layout.height)
        state.workspace.forEachTask(of: featureMap, cutAt: whole) { task in
            let sums = task.worker.inputGradient.pointer
            for group in task.groups {
                sums.update(repeating: 0, count: channels * layout.lanes)
                for y in 0..<layout.height {
                    addAffineReLU(input.values.numbers(group, y), input.affine, lanes: layout.lanes, to: sums)
                }
                for n in 0..<featureMap.images(in: group) {
                    let output = features + (group * layout.interleave + n) * channels
                    for c in 0..<channels {
                        var sum: Float = 0
                        for x in 0..<layout.width { sum += sums[c * layout.lanes + x * layout.interleave + n] }
                        output[c] = sum * factor
                    }
                }
            }
        }
    }

    /// Sets the gradient of the norm's channels: a feature's gradient is spread evenly over the pixels.
    ///
    /// - Parameter gradients: shape [images][channels].
    func backward(_ gradients: UnsafePointer<Float>, to input: SharedStatisticsNorm) {
        input.block.clearGradientSums()
        state.workspace.forEachTask(of: featureMap) { task in
            let sums = input.beginGradient(task)
            for group in task.groups {
                let row = input.gradientRow(group, 0, task.worker)
                spread(gradients, group, channels: input.channels, over: row)
                for y in task.rows { input.setGradient(row, group, y, to: sums) }
                input.endGroup(sums)
            }
        }
    }

    /// Writes the gradient of a row, which is the same for every row of a group.
    private func spread(
        _ gradients: UnsafePointer<Float>, _ group: Int, channels: Int, over row: UnsafeMutablePointer<Float>
    ) {
        let layout = featureMap.layout
        let factor = 1 / Float(layout.height * layout.width)
        row.update(repeating: 0, count: channels * layout.lanes)
        for n in 0..<featureMap.images(in: group) {
            let from = gradients + (group * layout.interleave + n) * channels
            for c in 0..<channels {
                let gradient = from[c] * factor
                for x in 0..<layout.width { row[c * layout.lanes + x * layout.interleave + n] = gradient }
            }
        }
    }
}
