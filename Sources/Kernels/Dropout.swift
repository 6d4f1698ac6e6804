import CKernels

/// Zeroes each element of a panel of `channels` rows, `stride` apart, with the given probability and divides the others
/// by 1 − probability.
///
/// Whether an element is dropped is a pure function of its lane's key and of its index, `first + channel·step`.
///
/// - Parameter keys: one per lane.
@inline(__always)
package func dropElements(
    of panel: UnsafeMutablePointer<Float>, channels: Int, lanes: Int, stride: Int, keys: UnsafePointer<UInt32>,
    first: UInt32, step: UInt32, probability: Double
) {
    kernels.pointee.dropout(
        panel, channels, lanes, stride, keys, first, step, UInt32(min(probability * 0x1p32, 0x1p32 - 1)),
        Float(1 / (1 - probability)))
}
