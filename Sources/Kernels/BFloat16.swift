import CKernels
import Support

/// pairs[c / 2][lane] = (panel[c][lane], panel[c + 1][lane]), rows `stride` and `pairsStride` elements apart. `pairs`
/// may be `panel` itself.
@inline(__always)
package func writeChannelPairs(
    _ panel: UnsafePointer<Float>, stride: Int, channels: Int, lanes: Int, into pairs: UnsafeMutablePointer<Float>,
    pairsStride: Int
) {
    kernels.pointee.pair_channels(panel, stride, channels, lanes, pairs, pairsStride)
}

/// pairs[c / 2][lane] = (panel[c][lane], panel[c + 1][lane]) for a panel in bfloat16, which `pairs` must not overlap;
/// rows `stride` and `pairsStride` elements apart.
@inline(__always)
package func writeChannelPairs(
    _ panel: UnsafePointer<UInt16>, stride: Int, channels: Int, lanes: Int, into pairs: UnsafeMutablePointer<Float>,
    pairsStride: Int
) {
    kernels.pointee.pair_bfloat16_channels(panel, stride, channels, lanes, pairs, pairsStride)
}

/// The gradient of a 3×3 convolution's output in bfloat16, one number per lane, with the zero borders of a
/// `PaddedGroup`: the operand of the weight gradient.
package struct PaddedBFloat16Group {
    private let start: UnsafeMutablePointer<UInt16>
    private let interleave: Int
    private let count: Int
    /// Numbers from one channel to the next.
    package let stride: Int
    /// Numbers from one row to the next.
    package let rowStride: Int

    /// - Parameter buffer: at least half as many floats as the shape has elements.
    package init(_ shape: PaddedGroup.Shape, in buffer: AlignedBuffer<Float>) {
        precondition(2 * buffer.count >= shape.count, "the group does not fit its buffer")
        start = bfloat16Numbers(in: buffer)
        interleave = shape.layout.interleave
        count = shape.count
        stride = shape.stride
        rowStride = shape.rowStride
    }

    /// Zeroes everything; the borders are never written afterwards.
    package func clear() { start.update(repeating: 0, count: count) }

    /// Row `y` without its borders: rows of lanes, `stride` apart.
    package func interior(_ y: Int) -> UnsafeMutablePointer<UInt16> { start + (y + 1) * rowStride + interleave }

    /// Where the tap at row `tapY`, column `tapX` (0...2) of output row `y` starts.
    package func tap(_ tapY: Int, _ tapX: Int, row y: Int) -> UnsafePointer<UInt16> {
        UnsafePointer(start + (y + tapY) * rowStride + tapX * interleave)
    }
}

/// The memory of a buffer as bfloat16 numbers.
package func bfloat16Numbers(in buffer: AlignedBuffer<Float>) -> UnsafeMutablePointer<UInt16> {
    UnsafeMutableRawPointer(buffer.pointer).assumingMemoryBound(to: UInt16.self)
}

extension ChannelAffine {
    /// output[c][lane] = max(0, scale[c]·input[c][lane] + shift[c]), input and output in bfloat16, for a panel of shape
    /// [channels][lanes]; lanes from `valid` on become zero.
    @inline(__always)
    package func reluPanel(
        _ input: UnsafePointer<UInt16>, lanes: Int, valid: Int, into output: UnsafeMutablePointer<UInt16>
    ) {
        kernels.pointee.affine_relu_bfloat16(input, channels, lanes, valid, scale.pointer, shift.pointer, output)
    }
}
