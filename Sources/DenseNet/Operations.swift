/// A convolution of the network.
public struct Convolution: Sendable {
    public enum Kind: Sendable {
        case stem
        /// A bottleneck's 1×1 convolution.
        case pointwise
        /// The 3×3 convolution that appends a dense layer's new channels.
        case growth
        case transition
    }

    public let kind: Kind
    public let weight: Parameter
    public let stride: Int
    /// Height and width of its output, as the paper has it.
    public let size: Int
    /// Height and width at which it is computed here: a transition pools first.
    public let computedSize: Int

    public var outputs: Int { weight.shape[0] }
    public var inputs: Int { weight.shape[1] }
    /// torchvision's name, without `.weight`.
    public var name: String { String(weight.name.dropLast(".weight".count)) }
}

/// One operation of the network.
public enum Operation: Sendable {
    case convolution(Convolution)
    /// A batch norm and the ReLU behind it, of images of `size` × `size` pixels.
    case norm(NormParameters, size: Int)
    /// The new channels of a dense layer are appended: its block has `channels` now.
    case concatenation(name: String, channels: Int, size: Int)
    /// The ImageNet stem's 3×3 max-pool with stride 2, to `size` × `size` pixels.
    case maxPool(channels: Int, size: Int)
    /// A transition's 2×2 average pool, to `size` × `size` pixels.
    case averagePool(name: String, channels: Int, size: Int)
    /// The mean over all `size` × `size` pixels.
    case globalAveragePool(channels: Int, size: Int)
    case classifier(weight: Parameter, bias: Parameter)
}
