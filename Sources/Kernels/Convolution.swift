import CKernels
import Support

/// The weights of a convolution in the order in which the register tiles read them; packed from the flat buffer in each
/// step.
package struct PackedWeights {
    package let taps: Int
    package let outputs: Int
    package let inputs: Int
    package let precision: Precision
    let pointer: UnsafeMutablePointer<Float>
    /// Keeps `pointer` valid; nil if the caller does.
    private let buffer: AlignedBuffer<Float>?
    /// Elements from input to input if the weights are not packed; 0 if they are.
    private let pitch: Int

    /// Space for `taps` × `outputs` × `inputs` weights in a buffer that others may share.
    ///
    /// - Precondition: the buffer has at least `taps · outputs · inputs` floats.
    package init(taps: Int, outputs: Int, inputs: Int, in buffer: AlignedBuffer<Float>, precision: Precision = .float32)
    {
        precondition(buffer.count >= taps * outputs * inputs, "the weights do not fit their buffer")
        self.taps = taps
        self.outputs = outputs
        self.inputs = inputs
        self.precision = precision
        pointer = buffer.pointer
        self.buffer = buffer
        pitch = 0
    }

    /// Unpacked weights of shape [inputs][outputs] in memory that the caller keeps alive: the backward product of a 1×1
    /// convolution needs no packing.
    package init(unpacked weights: UnsafeMutablePointer<Float>, outputs: Int, inputs: Int) {
        taps = 1
        self.outputs = outputs
        self.inputs = inputs
        precision = .float32
        pointer = weights
        buffer = nil
        pitch = outputs
    }

    /// Packs weights of shape [inputs][outputs] as bfloat16 pairs of inputs, in a buffer that others may share.
    package init(pairsOf weights: UnsafePointer<Float>, outputs: Int, inputs: Int, in buffer: AlignedBuffer<Float>) {
        self.init(taps: 1, outputs: outputs, inputs: inputs, in: buffer, precision: .bfloat16)
        kernels.pointee.pack_weights(weights, 0, 1, outputs, 1, outputs, inputs, 0, pointer)
        pairInputs()
    }

    /// Packs weights of shape [outputs][inputs][taps] for the forward product.
    package func packForward(_ weights: UnsafePointer<Float>) {
        kernels.pointee.pack_weights(weights, 1, inputs * taps, taps, taps, outputs, inputs, 0, pointer)
        pairInputs()
    }

    /// Packs weights of shape [outputs][taps][inputs] for the forward product over patches.
    package func packPatches(_ weights: UnsafePointer<Float>) {
        kernels.pointee.pack_weights(weights, inputs, inputs * taps, 1, taps, outputs, inputs, 0, pointer)
    }

    /// Packs weights of shape [inputs][outputs][taps] for the gradient with respect to the input: transposed, with the
    /// taps reversed. `inputs` are the forward convolution's outputs.
    package func packBackward(_ weights: UnsafePointer<Float>) {
        kernels.pointee.pack_weights(weights, 1, taps, outputs * taps, taps, outputs, inputs, 1, pointer)
        pairInputs()
    }

    /// Packs the centres of weights of shape [outputs][inputs][3][3], as the only tap, for the forward product.
    package func packCenterForward(_ weights: UnsafePointer<Float>) {
        kernels.pointee.pack_weights(weights + 4, 1, inputs * 9, 9, 1, outputs, inputs, 0, pointer)
        pairInputs()
    }

    /// Packs the centres of weights of shape [inputs][outputs][3][3], as the only tap, for the gradient with respect to
    /// the input.
    package func packCenterBackward(_ weights: UnsafePointer<Float>) {
        kernels.pointee.pack_weights(weights + 4, 1, 9, outputs * 9, 1, outputs, inputs, 0, pointer)
        pairInputs()
    }

    private func pairInputs() {
        if precision == .bfloat16 { kernels.pointee.pair_packed_weights(pointer, taps, outputs, inputs) }
    }

    /// output[o][lane] = Σ over taps t and inputs i of weight[o][i][t] · input[i·stride + offset(t) + lane].
    ///
    /// - Parameters:
    ///   - input: shape [inputs][stride], in bfloat16 [inputs / 2][stride] pairs of channels, readable at each of
    ///     `tapOffsets`.
    ///   - output: shape [outputs][outputStride]; must not overlap the input.
    ///   - only: the taps to sum; nil for all.
    ///   - lanes: a multiple of 16.
    ///   - next: `nextCount` floats to prefetch, which are read after this call.
    @inline(__always)
    package func convolve(
        _ input: UnsafePointer<Float>, stride: Int, tapOffsets: UnsafePointer<Int>, only: Range<Int>? = nil, lanes: Int,
        into output: UnsafeMutablePointer<Float>, outputStride: Int, next: UnsafePointer<Float>? = nil,
        nextCount: Int = 0
    ) {
        let range = only ?? 0..<taps
        let offsets = tapOffsets + range.lowerBound
        switch precision {
        case .float32:
            kernels.pointee.convolve(
                input, stride, offsets, range.lowerBound, range.count, pointer, taps, pitch, inputs, outputs, lanes,
                output, outputStride, next, nextCount)
        case .bfloat16:
            kernels.pointee.convolve_pairs(
                input, stride, offsets, range.lowerBound, range.count, pointer, taps, precision.elements(inputs),
                outputs,
                lanes, output, outputStride, next, nextCount)
        }
    }
}
