import Glibc
import Support

extension DenseNet {
    /// Draws the initial weights as the paper's code does: convolutions from N(0, 2/(k²·outputs)), the classifier
    /// uniformly within ±1/√inputs, γ = 1, biases 0.
    public func initialize(seed: UInt64) {
        for (index, parameter) in table.trainable.enumerated() {
            let elements = UnsafeMutableBufferPointer(rebasing: parameters[parameter.range])
            if parameter.shape.count == 4 {
                let deviation = sqrt(2 / Double(parameter.shape[2] * parameter.shape[3] * parameter.shape[0]))
                var random = CounterRandom(.weights, seed, UInt64(index))
                for i in elements.indices { elements[i] = Float(random.normal() * deviation) }
            } else if parameter.shape.count == 2 {
                let bound = 1 / sqrt(Float(parameter.shape[1]))
                var random = CounterRandom(.weights, seed, UInt64(index))
                for i in elements.indices { elements[i] = random.uniform(-bound, bound) }
            } else {
                elements.update(repeating: parameter.name.hasSuffix(".weight") ? 1 : 0)
            }
        }
        resetStatistics()
    }

    /// Means 0, variances 1.
    func resetStatistics() {
        for parameter in table.runningStatistics {
            UnsafeMutableBufferPointer(rebasing: runningStatistics[parameter.range]).update(
                repeating: parameter.name.hasSuffix(".running_var") ? 1 : 0)
        }
    }
}
