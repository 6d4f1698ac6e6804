import CKernels
import Support

/// An affine function a channel, `scale·x + shift`: what a batch norm does once its statistics are known.
package final class ChannelAffine {
    package let channels: Int
    package let scale: AlignedBuffer<Float>
    package let shift: AlignedBuffer<Float>

    package init(channels: Int) {
        self.channels = channels
        scale = AlignedBuffer(count: channels)
        shift = AlignedBuffer(count: channels)
    }

    /// output[c][lane] = max(0, scale[c]·input[c][lane] + shift[c]) for a panel of shape [channels][lanes]; padding lanes
    /// beyond `valid` become zero. Rows of the output are `outputStride` apart. In bfloat16 a row is of pairs of
    /// channels.
    @inline(__always)
    package func reluPanel(
        _ input: UnsafePointer<Float>, lanes: Int, valid: Int, into output: UnsafeMutablePointer<Float>,
        outputStride: Int, precision: Precision = .float32
    ) {
        switch precision {
        case .float32:
            kernels.pointee.affine_relu(
                input, channels, lanes, valid, scale.pointer, shift.pointer, output, outputStride)
        case .bfloat16:
            kernels.pointee.affine_relu_pairs(
                input, channels, lanes, valid, scale.pointer, shift.pointer, output, outputStride)
        }
    }
}

/// How batch norm's backward makes a value's gradient: `gradientFactor·g + valueFactor·x + constant`, a channel each.
///
/// With x̂ = x·inverse + offset, of mean zero and variance one over N values: dx = weight·inverse·(g − Σg/N −
/// x̂·Σ(g·x̂)/N). Ioffe and Szegedy, arXiv 1502.03167, section 3.
package final class BatchNormInputGradient {
    package let channels: Int
    private let gradientFactor: AlignedBuffer<Float>
    private let valueFactor: AlignedBuffer<Float>
    private let constant: AlignedBuffer<Float>

    package init(channels: Int) {
        self.channels = channels
        gradientFactor = AlignedBuffer(count: channels)
        valueFactor = AlignedBuffer(count: channels)
        constant = AlignedBuffer(count: channels)
    }

    /// Sets a channel from means over all ranks; `weight` is 1 where the gradient is already that of x̂.
    ///
    /// The constant goes with the factor as float32 has it: rounding then scales deviations from the mean, never the
    /// mean itself.
    package func set(
        _ channel: Int, weight: Double, mean: Double, inverse: Double, meanGradient: Double, meanProduct: Double
    ) {
        let factor = weight * inverse
        gradientFactor.pointer[channel] = Float(factor)
        valueFactor.pointer[channel] = Float(-factor * inverse * meanProduct)
        constant.pointer[channel] = Float(-factor * meanGradient - Double(valueFactor.pointer[channel]) * mean)
    }

    /// Writes the gradient of a panel of values, shape [channels][lanes], with rows `outputStride` apart; masked lanes
    /// become zero.
    @inline(__always)
    package func apply(
        gradient: UnsafePointer<Float>, values: UnsafePointer<Float>, lanes: Int, mask: UnsafePointer<Float>?,
        into output: UnsafeMutablePointer<Float>, outputStride: Int
    ) {
        kernels.pointee.batch_norm_backward(
            gradient, values, channels, lanes, mask, gradientFactor.pointer, valueFactor.pointer, constant.pointer,
            output, outputStride)
    }
}

/// Backward of a norm's ReLU, a panel of shape [channels][lanes] at a time: masks the gradient in place where the ReLU
/// was shut (and in padding lanes) and adds to `sums` the masked gradient and its products with x̂ = x·inverse + offset:
/// dβ and dγ.
@inline(__always)
package func reluBackward(
    _ gradient: UnsafeMutablePointer<Float>, values: UnsafePointer<Float>, affine: ChannelAffine, lanes: Int,
    mask: UnsafePointer<Float>?, inverse: UnsafePointer<Float>, offset: UnsafePointer<Float>, sums: PartialSums
) {
    kernels.pointee.relu_backward(
        gradient, values, affine.channels, lanes, mask, affine.scale.pointer, affine.shift.pointer, inverse, offset,
        sums.gradients, sums.products)
}

/// The same with the gradient left as it is: weight[c] times the masked gradient is added to `into` (`accumulate`) or
/// put there.
@inline(__always)
package func reluBackward(
    _ gradient: UnsafePointer<Float>, values: UnsafePointer<Float>, affine: ChannelAffine, lanes: Int,
    mask: UnsafePointer<Float>?, inverse: UnsafePointer<Float>, offset: UnsafePointer<Float>,
    weight: UnsafePointer<Float>, accumulate: Bool, into: UnsafeMutablePointer<Float>, sums: PartialSums
) {
    kernels.pointee.relu_backward_scaled(
        gradient, values, affine.channels, lanes, mask, affine.scale.pointer, affine.shift.pointer, inverse, offset,
        weight, accumulate ? 1 : 0, into, sums.gradients, sums.products)
}
