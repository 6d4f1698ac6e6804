import CKernels

/// Sets elements of a panel of `channels` rows, `stride` apart, to zero with a probability and divides the others by
/// its complement.
///
/// An element's fate is a pure function of its lane's key and its number within the image.
///
/// - Parameters:
///   - keys: one per lane.
///   - first: the number of channel 0's elements.
///   - step: what is added to it from channel to channel.
@inline(__always)
package func dropElements(
    of panel: UnsafeMutablePointer<Float>, channels: Int, lanes: Int, stride: Int, keys: UnsafePointer<UInt32>,
    first: UInt32, step: UInt32, probability: Double
) {
    kernels.pointee.dropout(
        panel, channels, lanes, stride, keys, first, step, UInt32(min(probability * 0x1p32, 0x1p32 - 1)),
        Float(1 / (1 - probability)))
}
