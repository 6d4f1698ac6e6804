import CKernels

/// One step of stochastic gradient descent with momentum over a run of a flat buffer (PyTorch's `SGD`).
///
/// With d = gradientScale·gradient + decay·weight: m = momentum·m + d; weight −= rate·(nesterov ? d + momentum·m : m).
package func descend(
    weights: UnsafeMutableBufferPointer<Float>, gradients: UnsafeMutableBufferPointer<Float>,
    momenta: UnsafeMutableBufferPointer<Float>, rate: Float, gradientScale: Float, momentum: Float, decay: Float,
    nesterov: Bool
) {
    precondition(
        gradients.count == weights.count && momenta.count == weights.count,
        "weights, gradients and momenta differ in number")
    guard let first = weights.baseAddress else { return }
    kernels.pointee.sgd_step(
        first, gradients.baseAddress!, momenta.baseAddress!, weights.count, rate, gradientScale, momentum, decay,
        nesterov ? 1 : 0)
}
