import Glibc
import Kernels
import Support

/// What a batch came to, summed over this rank's images.
package struct BatchResult: Sendable, Equatable {
    /// Sum of the images' losses (cross-entropy, natural logarithm).
    package var lossSum: Double
    /// Images whose largest logit is their label's.
    package var correct: Int
}

/// Norm, ReLU, global average pool, classifier and cross-entropy.
final class Head {
    /// Shape [images][classes].
    let logits: AlignedBuffer<Float>
    private let norm: FeatureNorm
    private let weight: Parameter
    private let bias: Parameter
    private let features: AlignedBuffer<Float>
    private let featureGradients: AlignedBuffer<Float>
    private let logitGradients: AlignedBuffer<Float>
    private unowned let block: FeatureBlock
    private let state: NetworkState

    init(_ table: ParameterTable, of block: FeatureBlock, images: Int, state: NetworkState) {
        self.block = block
        self.state = state
        weight = table.classifierWeight
        bias = table.classifierBias
        norm = FeatureNorm(table.finalNorm, of: block, state: state)
        logits = AlignedBuffer(count: images * weight.shape[0])
        logitGradients = AlignedBuffer(count: images * weight.shape[0])
        features = AlignedBuffer(count: images * norm.channels)
        featureGradients = AlignedBuffer(count: images * norm.channels)
        state.workspace.needs.reserve(.inputGradient, norm.channels * block.layout.lanes)
        OpenBLAS.prepare()
    }

    private var classes: Int { weight.shape[0] }
    private var channels: Int { norm.channels }

    func forward(_ pass: Pass) {
        norm.prepare(pass)
        pool()
        let parameters = state.parameters.pointer
        for image in 0..<pass.count {
            (logits.pointer + image * classes).update(from: parameters + bias.offset, count: classes)
        }
        guard pass.count > 0 else { return }
        matrixMultiply(
            MatrixFactor(features.pointer, rows: pass.count, columns: channels),
            MatrixFactor(parameters + weight.offset, rows: classes, columns: channels).transposed,
            into: logits.pointer, accumulate: true)
    }

    /// features[image][channel] = mean over the pixels of max(0, affine(x)).
    private func pool() {
        let layout = block.layout
        let factor = 1 / Float(layout.height * layout.width)
        state.workspace.forEachChunk(of: block.stage) { groups, _, worker in
            let sums = worker.inputGradient.pointer
            for group in groups {
                sums.update(repeating: 0, count: channels * layout.lanes)
                for y in 0..<layout.height {
                    addActivated(block.values.panel(group, y), norm.affine, lanes: layout.lanes, to: sums)
                }
                for n in 0..<block.stage.images(in: group) {
                    let output = features.pointer + (group * layout.interleave + n) * channels
                    for c in 0..<channels {
                        var sum: Float = 0
                        for x in 0..<layout.width { sum += sums[c * layout.lanes + x * layout.interleave + n] }
                        output[c] = sum * factor
                    }
                }
            }
        }
    }

    /// The class of an image's largest logit, the first of equals; nil where a logit is not a number.
    func prediction(_ image: Int) -> Int? {
        let row = logits.pointer + image * classes
        var best = 0
        for c in 0..<classes {
            if row[c].isNaN { return nil }
            if row[c] > row[best] { best = c }
        }
        return best
    }

    /// Cross-entropy of the logits; also leaves the gradient of its SUM over images, which backward starts from.
    ///
    /// With label smoothing s the target is (1 − s) on the label plus s/classes on every class, as PyTorch defines it.
    func loss(_ labels: UnsafePointer<Int32>, count: Int, labelSmoothing: Double) -> BatchResult {
        var result = BatchResult(lossSum: 0, correct: 0)
        let spread = labelSmoothing / Double(classes)
        for image in 0..<count {
            let row = logits.pointer + image * classes
            let gradient = logitGradients.pointer + image * classes
            let label = Int(labels[image])
            let prediction = prediction(image)
            if prediction == label { result.correct += 1 }
            let largest = prediction.map { Double(row[$0]) } ?? .nan
            var total = 0.0
            for c in 0..<classes { total += exp(Double(row[c]) - largest) }
            let logTotal = log(total) + largest
            for c in 0..<classes {
                let logProbability = Double(row[c]) - logTotal
                let target = spread + (c == label ? 1 - labelSmoothing : 0)
                if target > 0 { result.lossSum -= target * logProbability }
                gradient[c] = Float(exp(logProbability) - target)
            }
        }
        return result
    }

    /// From the loss's gradient to that of the classifier and to G of the last block, whose norm is its first reader in
    /// this order.
    func backward(_ pass: Pass) {
        let gradients = state.gradients.pointer
        let parameters = state.parameters.pointer
        for c in 0..<classes {
            var sum: Float = 0
            for image in 0..<pass.count { sum += logitGradients.pointer[image * classes + c] }
            gradients[bias.offset + c] = sum
        }
        if pass.count > 0 {
            let gradient = MatrixFactor(logitGradients.pointer, rows: pass.count, columns: classes)
            matrixMultiply(
                gradient.transposed, MatrixFactor(features.pointer, rows: pass.count, columns: channels),
                into: gradients + weight.offset)
            matrixMultiply(
                gradient, MatrixFactor(parameters + weight.offset, rows: classes, columns: channels),
                into: featureGradients.pointer)
        } else {
            (gradients + weight.offset).update(repeating: 0, count: weight.count)
        }
        block.clearGradientSums()
        state.workspace.forEachChunk(of: block.stage) { groups, chunk, worker in
            let sums = norm.beginBackward(chunk: chunk, worker)
            let gradient = worker.inputGradient.pointer
            for group in groups {
                spreadFeatureGradients(group, over: gradient)
                for y in 0..<block.layout.height {
                    norm.backwardPanel(gradient, group: group, row: y, accumulate: false, sums: sums)
                }
                sums.flushGradients()
            }
        }
        norm.endBackward()
    }

    /// The gradient of every row of a group: a channel's mean spreads it evenly over the pixels.
    private func spreadFeatureGradients(_ group: Int, over panel: UnsafeMutablePointer<Float>) {
        let layout = block.layout
        let factor = 1 / Float(layout.height * layout.width)
        panel.update(repeating: 0, count: channels * layout.lanes)
        for n in 0..<block.stage.images(in: group) {
            let from = featureGradients.pointer + (group * layout.interleave + n) * channels
            for c in 0..<channels {
                let gradient = from[c] * factor
                for x in 0..<layout.width { panel[c * layout.lanes + x * layout.interleave + n] = gradient }
            }
        }
    }
}
