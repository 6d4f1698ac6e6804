import CKernels
import Support

/// One affine function per channel, `scale·x + shift`: a batch norm once its statistics are known.
package final class ChannelAffine {
    package let channels: Int
    package let scale: AlignedBuffer<Float>
    package let shift: AlignedBuffer<Float>

    package init(channels: Int) {
        self.channels = channels
        scale = AlignedBuffer(count: channels)
        shift = AlignedBuffer(count: channels)
    }

    /// output[c][lane] = max(0, scale[c]·input[c][lane] + shift[c]) for a panel of shape [channels][lanes]; lanes from
    /// `valid` on become zero. Output rows are `outputStride` apart; for an input in bfloat16 each holds a pair of
    /// channels.
    @inline(__always)
    package func reluPanel(
        _ input: PanelNumbers, lanes: Int, valid: Int, into output: UnsafeMutablePointer<Float>, outputStride: Int
    ) {
        switch input.precision {
        case .float32:
            kernels.pointee.affine_relu(
                input.floats, channels, lanes, valid, scale.pointer, shift.pointer, output, outputStride)
        case .bfloat16:
            kernels.pointee.affine_relu_pairs(
                input.bfloat16, channels, lanes, valid, scale.pointer, shift.pointer, output, outputStride)
        }
    }
}

/// The coefficients of a batch norm's input gradient, dx = gradientFactor·g + valueFactor·x + constant, per channel.
///
/// With x̂ = x·inverseDeviation + normalizedOffset, of mean zero and variance one over N values:
/// dx = weight·inverseDeviation·(g − Σg/N − x̂·Σ(g·x̂)/N). Ioffe and Szegedy, arXiv 1502.03167, section 3.
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

    /// Sets the coefficients of one channel from means over all ranks; `weight` is 1 if the gradient is already that of
    /// x̂.
    ///
    /// The constant is computed with `valueFactor` as rounded to float32: rounding then scales deviations from the
    /// mean, never the mean itself.
    package func set(
        _ channel: Int, weight: Double, mean: Double, inverseDeviation: Double, meanGradient: Double,
        meanProduct: Double
    ) {
        let factor = weight * inverseDeviation
        gradientFactor.pointer[channel] = Float(factor)
        valueFactor.pointer[channel] = Float(-factor * inverseDeviation * meanProduct)
        constant.pointer[channel] = Float(-factor * meanGradient - Double(valueFactor.pointer[channel]) * mean)
    }

    /// Writes the input gradient of a panel of shape [channels][lanes], rows `outputStride` apart; masked lanes become
    /// zero.
    ///
    /// - Precondition: gradient and values are of the same type; if that is float32, so is the output.
    @inline(__always)
    package func apply(
        gradient: PanelNumbers, values: PanelNumbers, lanes: Int, mask: UnsafePointer<Float>?,
        into output: PanelNumbers, outputStride: Int
    ) {
        precondition(
            gradient.precision == values.precision && (output.precision == .float32 || values.precision == .bfloat16),
            "gradient, values and output are of types that do not go together")
        kernels.pointee.batch_norm_backward(
            gradient.kernelArgument, values.kernelArgument, channels, lanes, mask, gradientFactor.pointer,
            valueFactor.pointer, constant.pointer, output.kernelArgument, outputStride)
    }
}

/// Backward of the ReLU after a norm, for one panel of shape [channels][lanes]: writes the gradient to `output`, which
/// may be its own memory, with zeros where the ReLU was inactive and in padding lanes, then adds the masked gradient
/// and its product with x̂ = x·inverseDeviation + normalizedOffset to `sums`: dβ and dγ.
///
/// - Precondition: values and output are of the same type.
@inline(__always)
package func reluBackward(
    _ gradient: UnsafePointer<Float>, values: PanelNumbers, affine: ChannelAffine, lanes: Int,
    mask: UnsafePointer<Float>?, inverseDeviation: UnsafePointer<Float>, normalizedOffset: UnsafePointer<Float>,
    into output: PanelNumbers, sums: PartialSums
) {
    precondition(values.precision == output.precision, "values and output are of different types")
    kernels.pointee.relu_backward(
        gradient, values.kernelArgument, affine.channels, lanes, mask, affine.scale.pointer, affine.shift.pointer,
        inverseDeviation, normalizedOffset, output.kernelArgument, sums.gradients, sums.products)
}

/// Writes weight[c] times the masked gradient to `output`, or adds it with `accumulate`; otherwise as above.
@inline(__always)
package func reluBackward(
    _ gradient: UnsafePointer<Float>, values: PanelNumbers, affine: ChannelAffine, lanes: Int,
    mask: UnsafePointer<Float>?, inverseDeviation: UnsafePointer<Float>, normalizedOffset: UnsafePointer<Float>,
    weight: UnsafePointer<Float>, accumulate: Bool, into output: PanelNumbers, sums: PartialSums
) {
    precondition(values.precision == output.precision, "values and output are of different types")
    kernels.pointee.relu_backward_scaled(
        gradient, values.kernelArgument, affine.channels, lanes, mask, affine.scale.pointer, affine.shift.pointer,
        inverseDeviation, normalizedOffset, weight, accumulate ? 1 : 0, output.kernelArgument, sums.gradients,
        sums.products)
}
