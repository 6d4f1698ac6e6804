import Glibc
import Kernels
import Support

/// Norm, ReLU, global average pool, classifier and cross-entropy.
final class Head {
    /// Shape [images][classes].
    let logits: AlignedBuffer<Float>
    /// The number of images in the last pass.
    private(set) var count = 0
    private let norm: SharedStatisticsNorm
    private let pool: GlobalAveragePool
    private let weight: Parameter
    private let bias: Parameter
    private let features: AlignedBuffer<Float>
    private let featureGradients: AlignedBuffer<Float>
    private let logitGradients: AlignedBuffer<Float>
    private let state: SharedNetworkState

    init(_ table: ParameterTable, of block: DenseBlock, images: Int, state: SharedNetworkState) {
        self.state = state
        weight = table.classifierWeight
        bias = table.classifierBias
        norm = SharedStatisticsNorm(table.finalNorm, of: block, state: state)
        pool = GlobalAveragePool(block.featureMap, state: state)
        logits = AlignedBuffer(count: images * weight.shape[0])
        logitGradients = AlignedBuffer(count: images * weight.shape[0])
        features = AlignedBuffer(count: images * norm.channels)
        featureGradients = AlignedBuffer(count: images * norm.channels)
    }

    private var classes: Int { weight.shape[0] }
    private var channels: Int { norm.channels }

    /// Bytes of the head's own buffers.
    var byteCount: Int {
        logits.byteCount + logitGradients.byteCount + features.byteCount + featureGradients.byteCount
    }

    /// logits = features · Wᵀ + bias.
    func forward(_ pass: PassContext) {
        count = pass.count
        norm.prepare(pass)
        pool.forward(norm, into: features.pointer)
        for image in 0..<count {
            (logits.pointer + image * classes).update(from: state.parameters.pointer + bias.offset, count: classes)
        }
        guard count > 0 else { return }
        matrixMultiply(
            MatrixFactor(features.pointer, rows: count, columns: channels), weights.transposed, into: logits.pointer,
            accumulate: true)
    }

    /// From the gradient of the logits, as `loss` left it, computes the classifier's gradients, then the norm's and G of
    /// the last block, of which the head's norm is the first consumer that backward reaches.
    ///
    /// - Parameter toFeatures: whether to go beyond the classifier.
    func backward(toFeatures: Bool) {
        let gradients = state.gradients.pointer
        for c in 0..<classes {
            var sum: Float = 0
            for image in 0..<count { sum += logitGradients.pointer[image * classes + c] }
            gradients[bias.offset + c] = sum
        }
        if count > 0 {
            let logitGradients = MatrixFactor(logitGradients.pointer, rows: count, columns: classes)
            matrixMultiply(
                logitGradients.transposed, MatrixFactor(features.pointer, rows: count, columns: channels),
                into: gradients + weight.offset)
            if toFeatures { matrixMultiply(logitGradients, weights, into: featureGradients.pointer) }
        } else {
            (gradients + weight.offset).update(repeating: 0, count: weight.count)
        }
        guard toFeatures else { return }
        pool.backward(featureGradients.pointer, to: norm)
        norm.finishBackward()
    }

    private var weights: MatrixFactor {
        MatrixFactor(state.parameters.pointer + weight.offset, rows: classes, columns: channels)
    }

    /// The class with the largest logit, the first of equals; nil if a logit is NaN.
    func prediction(_ image: Int) -> Int? {
        let row = logits.pointer + image * classes
        var best = 0
        for c in 0..<classes {
            if row[c].isNaN { return nil }
            if row[c] > row[best] { best = c }
        }
        return best
    }

    /// Shape [count][classes].
    func averageLogits(with others: UnsafePointer<Float>) {
        for i in 0..<count * classes { logits.pointer[i] = (logits.pointer[i] + others[i]) / 2 }
    }

    /// Cross-entropy of the logits. Also stores the gradient of its SUM over images, where backward starts.
    ///
    /// With label smoothing s the target is (1 − s) on the label plus s/classes on every class, as in PyTorch. Where
    /// classes have weights each class's part of the target is multiplied by its own, as by the `weight` of
    /// `torch.nn.functional.cross_entropy`; the parts of an image's target do not add up to 1 then.
    ///
    /// Where images are mixed, the loss is the sum of those with the one label and with the other, each by its share.
    ///
    /// - Parameter classWeights: of each class; nil where all count the same.
    func loss(_ labels: BatchLabels, labelSmoothing: Double, classWeights: [Double]?) -> BatchResult {
        var result = BatchResult(lossSum: 0, correct: 0, weight: 0)
        let spread = labelSmoothing / Double(classes)
        var spreadTotal = 0.0
        if let classWeights { for c in 0..<classes { spreadTotal += spread * classWeights[c] } }
        for image in 0..<count {
            let row = logits.pointer + image * classes
            let gradient = logitGradients.pointer + image * classes
            let (label, other) = (Int(labels.own[image]), Int((labels.others ?? labels.own)[image]))
            let (share, rest) = (labels.ownShare, 1 - labels.ownShare)
            let prediction = prediction(image)
            if prediction == (share >= rest ? label : other) { result.correct += 1 }
            let largest = prediction.map { Double(row[$0]) } ?? .nan
            var total = 0.0
            for c in 0..<classes { total += exp(Double(row[c]) - largest) }
            let logTotal = log(total) + largest
            var (weight, targetTotal) = (1.0, 1.0)
            if let classWeights {
                weight = share * classWeights[label] + rest * classWeights[other]
                targetTotal = spreadTotal + (1 - labelSmoothing) * weight
            }
            for c in 0..<classes {
                let logProbability = Double(row[c]) - logTotal
                let ofLabels = (c == label ? share : 0) + (c == other ? rest : 0)
                let target = (spread + (1 - labelSmoothing) * ofLabels) * (classWeights?[c] ?? 1)
                if target > 0 { result.lossSum -= target * logProbability }
                gradient[c] = Float(targetTotal * exp(logProbability) - target)
            }
            result.weight += weight
        }
        return result
    }
}
