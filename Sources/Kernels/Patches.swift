import CKernels

/// Writes the pixels under the kernel for each output pixel of row `y` (im2col), as a panel of channels·kernel·kernel
/// rows. The convolution's padding is kernel / 2.
///
/// - Parameters:
///   - images: the group's images, shape [count][channels][size][size].
///   - size: height and width of an image.
///   - patches: shape [channels·kernel·kernel][lanes], in the order of a weight of shape [channels][kernel][kernel].
package func writePatches(
    of images: UnsafePointer<Float>, count: Int, channels: Int, size: Int, kernel: Int, stride: Int, y: Int,
    layout: PanelLayout, into patches: UnsafeMutablePointer<Float>
) {
    kernels.pointee.extract_patches(
        images, channels * size * size, count, channels, size, size, kernel, stride, kernel / 2, y, layout.width,
        layout.interleave, layout.lanes, patches)
}
