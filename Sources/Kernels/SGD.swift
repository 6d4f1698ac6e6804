import CKernels

/// One step of stochastic gradient descent with momentum, as PyTorch's `SGD` defines it.
///
/// With d = gradientScale·gradient + weightDecay·weight: m = momentum·m + d;
/// weight −= learningRate·(nesterov ? d + momentum·m : m). `momentumBuffer` holds m.
package func sgdStep(
    weights: UnsafeMutableBufferPointer<Float>, gradients: UnsafeMutableBufferPointer<Float>,
    momentumBuffer: UnsafeMutableBufferPointer<Float>, learningRate: Float, gradientScale: Float, momentum: Float,
    weightDecay: Float, nesterov: Bool
) {
    precondition(
        gradients.count == weights.count && momentumBuffer.count == weights.count,
        "weights, gradients and momentum buffer differ in size")
    guard let first = weights.baseAddress else { return }
    kernels.pointee.sgd_step(
        first, gradients.baseAddress!, momentumBuffer.baseAddress!, weights.count, learningRate, gradientScale,
        momentum, weightDecay, nesterov ? 1 : 0)
}

/// Moves an exponential moving average towards new values: average += share·(value − average).
///
/// - Parameter values: as many as `average` has.
package func moveAverage(
    _ average: UnsafeMutableBufferPointer<Float>, towards values: UnsafeMutableBufferPointer<Float>, share: Float
) {
    precondition(average.count == values.count, "average and values differ in size")
    guard let first = average.baseAddress else { return }
    kernels.pointee.move_average(first, values.baseAddress!, average.count, share)
}
