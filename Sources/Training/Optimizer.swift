import DenseNetModel
import Kernels
import Support

/// How weights follow gradients: stochastic gradient descent with momentum (arXiv 1608.06993, section 4.2).
public struct OptimizerConfiguration: Codable, Sendable, Equatable {
    /// m of the update v ← m·v + gradient; 0 or above and below 1.
    public var momentum: Double
    /// Whether the weights move by gradient + m·v (Nesterov, as PyTorch has it) in place of v.
    public var nesterov: Bool
    /// Times a weight, it is added to that weight's gradient.
    public var weightDecay: Double
    /// Whether norms and biases decay as weights do. The paper's code decays all parameters.
    public var decaysNorms: Bool

    /// The paper's values where none are given.
    public init(momentum: Double = 0.9, nesterov: Bool = true, weightDecay: Double = 1e-4, decaysNorms: Bool = true) {
        self.momentum = momentum
        self.nesterov = nesterov
        self.weightDecay = weightDecay
        self.decaysNorms = decaysNorms
    }
}

/// The optimizer of a network: its momenta lie in a flat buffer laid out as the parameters.
package final class Optimizer {
    package let momentumBuffer: AlignedBuffer<Float>
    private let configuration: OptimizerConfiguration
    private let network: TrainableDenseNet
    private let gradients: AlignedBuffer<Float>
    /// Follows the weights where the network has one.
    private let average: WeightAverage?
    /// Elements that are moved, and then averaged, at a time: weights of a block are in the second-level cache still.
    private static let blockElements = 16_384
    /// Parameters that lie one after the other in the flat buffers and move alike.
    private struct Run {
        var range: Range<Int>
        let decay: Float
        /// Times the rate of a step.
        let rateFactor: Double
    }
    /// Without what is frozen.
    private let runs: [Run]

    /// - Parameters:
    ///   - momentumBuffer: zero, of the parameters' number.
    ///   - gradients: laid out as the parameters.
    ///   - parts: what is to be moved, ascending; other ranks move the rest, in memory that they share with this one.
    ///   - rateFactors: what the rate of a step is taken times in parts of the network, none of which belongs to another.
    ///   - average: what is to follow the weights.
    init(
        _ configuration: OptimizerConfiguration, of network: TrainableDenseNet, momentumBuffer: AlignedBuffer<Float>,
        gradients: AlignedBuffer<Float>, parts: [Range<Int>], rateFactors: [NetworkPart: Double],
        average: WeightAverage?
    ) {
        self.configuration = configuration
        self.network = network
        self.momentumBuffer = momentumBuffer
        self.gradients = gradients
        self.average = average
        let factors = rateFactors.map { (range: network.table.range(of: $0.key), factor: $0.value) }
        var runs: [Run] = []
        for parameter in network.table.trainable.sorted(by: { $0.offset < $1.offset }) {
            let range = parameter.range
            guard !network.frozen.contain(range, of: network.table) else { continue }
            let decay = parameter.isWeight || configuration.decaysNorms ? Float(configuration.weightDecay) : 0
            let factor = factors.first { $0.range.contains(range) }?.factor ?? 1
            if let last = runs.last, last.range.upperBound == range.lowerBound, last.decay == decay,
                last.rateFactor == factor
            {
                runs[runs.count - 1].range = last.range.lowerBound..<range.upperBound
            } else {
                runs.append(Run(range: range, decay: decay, rateFactor: factor))
            }
        }
        self.runs = runs.flatMap { run in
            parts.filter { $0.overlaps(run.range) }.map { part in
                Run(range: part.clamped(to: run.range), decay: run.decay, rateFactor: run.rateFactor)
            }
        }
    }

    /// Moves this rank's parts of the weights. The average, if there is one, follows: its parts of the same weights, and
    /// all running statistics. What is frozen it has already.
    ///
    /// - Parameter weight: what the gradients, which are sums, are divided by; where it is 0 no image counts, and they
    ///   are taken for 0.
    func step(rate: Double, weight: Double) {
        average?.updates += 1
        for run in runs {
            var start = run.range.lowerBound
            while start < run.range.upperBound {
                let block = start..<min(start + Self.blockElements, run.range.upperBound)
                move(
                    block, decay: run.decay, rate: rate * run.rateFactor,
                    gradientScale: weight > 0 ? Float(1 / weight) : 0)
                start = block.upperBound
            }
        }
        guard let average else { return }
        moveAverage(average.statistics.elements, towards: network.runningStatistics, share: average.share)
    }

    private func move(_ block: Range<Int>, decay: Float, rate: Double, gradientScale: Float) {
        let weights = UnsafeMutableBufferPointer(rebasing: network.parameters[block])
        sgdStep(
            weights: weights, gradients: gradients[block], momentumBuffer: momentumBuffer[block],
            learningRate: Float(rate), gradientScale: gradientScale,
            momentum: Float(configuration.momentum), weightDecay: decay, nesterov: configuration.nesterov)
        guard let average else { return }
        moveAverage(average.parameters[block], towards: weights, share: average.share)
    }
}
