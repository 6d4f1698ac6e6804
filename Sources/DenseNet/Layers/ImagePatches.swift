import Kernels

/// The pixels under a convolution's kernel for each of its output pixels (im2col): the stem's input.
///
/// Row `y` has C·kernel·kernel channels in the order of a weight of shape [C][kernel][kernel], C the images' channels,
/// and zeros outside of the image.
struct ImagePatches: ConvolutionInput {
    /// Shape [count][imageChannels][size][size].
    let images: UnsafePointer<Float>
    let imageChannels: Int
    let size: Int
    let kernel: Int
    let stride: Int
    /// The output's feature map.
    let featureMap: FeatureMap

    var channels: Int { imageChannels * kernel * kernel }

    func operand(_ group: Int, _ y: Int, _ format: OperandFormat, _ worker: WorkerSpace) -> UnsafePointer<Float> {
        precondition(format == .float32, "only dense layers multiply in bfloat16")
        let patches = worker.activation.pointer
        writePatches(
            of: images + group * featureMap.layout.interleave * imageChannels * size * size,
            count: featureMap.images(in: group), channels: imageChannels, size: size, kernel: kernel, stride: stride,
            y: y, layout: featureMap.layout, into: patches,
            scratch: worker.columns.pointer)
        return UnsafePointer(patches)
    }

    func sourceAfter(_ group: Int, _ y: Int) -> UnsafePointer<Float>? { nil }
}
