import CKernels

/// The input rows that a group's images show to a convolution with padding, as a panel of kernel·kernel·channels rows.
///
/// - Parameters:
///   - images: the group's images, shape [count][channels][size][size].
///   - patches: shape [channels·kernel·kernel][lanes], ordered as a weight [channels][kernel][kernel] is.
package func writePatches(
    of images: UnsafePointer<Float>, count: Int, channels: Int, size: Int, kernel: Int, stride: Int, y: Int,
    layout: PanelLayout, into patches: UnsafeMutablePointer<Float>
) {
    kernels.pointee.extract_patches(
        images, channels * size * size, count, channels, size, size, kernel, stride, kernel / 2, y, layout.width,
        layout.interleave, layout.lanes, patches)
}
