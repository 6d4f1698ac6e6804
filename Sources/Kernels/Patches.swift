import CKernels

/// Writes the pixels under the kernel for each output pixel of row `y` (im2col), as a panel of channels·kernel·kernel
/// rows. The convolution's padding is kernel / 2, its stride 1 or 2.
///
/// - Parameters:
///   - images: the group's images, shape [count][channels][size][size].
///   - size: height and width of an image.
///   - patches: shape [channels·kernel·kernel][lanes], in the order of a weight of shape [channels][kernel][kernel].
///   - scratch: `patchScratchCount` floats of the calling thread.
package func writePatches(
    of images: UnsafePointer<Float>, count: Int, channels: Int, size: Int, kernel: Int, stride: Int, y: Int,
    layout: PanelLayout, into patches: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
) {
    kernels.pointee.extract_patches(
        images, channels * size * size, count, channels, size, size, kernel, stride, kernel / 2, y, layout.width,
        layout.interleave, layout.lanes, patches, scratch)
}

/// Size of the scratch of `writePatches`, in floats.
package func patchScratchCount(_ layout: PanelLayout, kernel: Int) -> Int {
    4 * (layout.lanes + kernel * layout.interleave + 32)
}
