import DenseNetModel
import Kernels
import Support

/// An exponential moving average of a network's parameters and running statistics: after each step that has moved the
/// weights, average ← d·average + (1 − d)·weights.
///
/// With t such steps done, d is min(`decay`, (1 + t)/(10 + t)), so that the first weights are soon forgotten: the ramp
/// of TensorFlow's `tf.train.ExponentialMovingAverage(decay, num_updates)`, with t for `num_updates`.
package final class WeightAverage {
    /// Above 0 and below 1.
    package let decay: Double
    /// Laid out as the network's; the ranks of a host have one copy where they share the weights.
    let parameters: AlignedBuffer<Float>
    /// Likewise, the averages of running means and variances; each rank has all of them.
    let statistics: AlignedBuffer<Float>
    /// Steps that have moved the weights.
    var updates = 0

    /// - Parameter parameters: the memory for the averages of all parameters.
    init(decay: Double, of network: DenseNet, parameters: AlignedBuffer<Float>) {
        self.decay = decay
        self.parameters = parameters
        statistics = AlignedBuffer(count: network.runningStatistics.count)
    }

    /// Begins anew at the network's weights.
    ///
    /// - Parameter writesParameters: whether this rank writes the averages of parameters; of ranks that share them one
    ///   does.
    func begin(at network: DenseNet, writingParameters writesParameters: Bool = true) {
        if writesParameters { _ = parameters.elements.update(fromContentsOf: network.parameters) }
        _ = statistics.elements.update(fromContentsOf: network.runningStatistics)
        updates = 0
    }

    /// What the newest weights count for: 1 − d.
    var share: Float { Float(1 - min(decay, (1 + Double(updates)) / (10 + Double(updates)))) }
}
