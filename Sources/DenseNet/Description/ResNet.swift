/// What a residual network with bottlenecks costs (He, Zhang, Ren, Sun, arXiv 1512.03385, table 1), to set a DenseNet
/// against.
///
/// It is only counted, not built. The stride is at the 3×3 convolution, as in torchvision.
package struct ResNet: Sendable, Equatable {
    /// As papers call it, such as `ResNet-101`.
    package let name: String
    /// Learnt numbers.
    package private(set) var parameters = 0
    /// Of a forward pass of one image; convolutions and the classifier.
    package private(set) var multiplyAccumulates = 0

    /// Output channels of a residual block for each channel of its 3×3 convolution.
    private static let expansion = 4

    /// The network of 101 layers (arXiv 1512.03385, table 1).
    ///
    /// - Parameters:
    ///   - classes: one logit each.
    ///   - image: height and width of the input in pixels.
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
        for (featureMap, count) in blocks.enumerated() {
            let width = 64 << featureMap
            for block in 0..<count {
                let outputSize = featureMap > 0 && block == 0 ? halved(size) : size
                addConvolution(kernel: 1, from: channels, to: width, size: size)
                addConvolution(kernel: 3, from: width, to: width, size: outputSize)
                addConvolution(kernel: 1, from: width, to: Self.expansion * width, size: outputSize)
                // The shortcut of a stage's first block has to change the number of channels.
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

    /// A convolution without bias and the batch norm behind it.
    private mutating func addConvolution(kernel: Int, from inputs: Int, to outputs: Int, size: Int) {
        let weights = kernel * kernel * inputs * outputs
        parameters += weights + 2 * outputs
        multiplyAccumulates += weights * size * size
    }
}
