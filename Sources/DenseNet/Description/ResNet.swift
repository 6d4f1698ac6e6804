/// The cost of a residual network with bottlenecks (He, Zhang, Ren, Sun, arXiv 1512.03385, table 1), for comparison.
///
/// Only its costs are computed; it cannot be run. The stride is at the 3×3 convolution, as in torchvision.
package struct ResNet: Sendable, Equatable {
    /// As papers call it, such as `ResNet-101`.
    package let name: String
    /// The number of trainable parameters.
    package private(set) var parameters = 0
    /// In the forward pass of one image; convolutions and the classifier.
    package private(set) var multiplyAccumulates = 0

    /// A residual block's output channels per channel of its 3×3 convolution.
    private static let expansion = 4

    /// ResNet-101 for images of `image` × `image` pixels.
    package static func resNet101(classes: Int, image: Int) -> ResNet {
        ResNet(name: "ResNet-101", blocks: [3, 4, 23, 3], classes: classes, image: image)
    }

    private init(name: String, blocks: [Int], classes: Int, image: Int) {
        self.name = name
        func halved(_ size: Int) -> Int { (size - 1) / 2 + 1 }
        var size = halved(image)
        var channels = 64
        addConvolution(kernel: 7, from: 3, to: channels, size: size)
        size = halved(size)
        for (stage, count) in blocks.enumerated() {
            let width = 64 << stage
            for block in 0..<count {
                let outputSize = stage > 0 && block == 0 ? halved(size) : size
                addConvolution(kernel: 1, from: channels, to: width, size: size)
                addConvolution(kernel: 3, from: width, to: width, size: outputSize)
                addConvolution(kernel: 1, from: width, to: Self.expansion * width, size: outputSize)
                // The shortcut of a stage's first block is a convolution: the number of channels changes.
                if block == 0 {
                    addConvolution(kernel: 1, from: channels, to: Self.expansion * width, size: outputSize)
                }
                channels = Self.expansion * width
                size = outputSize
            }
        }
        parameters += classes * (channels + 1)
        multiplyAccumulates += classes * channels
    }

    /// A convolution without bias, followed by a batch norm.
    private mutating func addConvolution(kernel: Int, from inputs: Int, to outputs: Int, size: Int) {
        let weights = kernel * kernel * inputs * outputs
        parameters += weights + 2 * outputs
        multiplyAccumulates += weights * size * size
    }
}
