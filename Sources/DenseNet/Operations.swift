/// A convolution of the network.
package struct Convolution: Sendable {
    package enum Kind: Sendable {
        case stem
        /// A bottleneck's 1×1 convolution.
        case pointwise
        /// The 3×3 convolution that appends a dense layer's new channels.
        case growth
        case transition
    }

    package let kind: Kind
    package let weight: Parameter
    package let stride: Int
    /// Height and width of its output in the paper.
    package let size: Int
    /// Height and width at which it is computed here: a transition pools first.
    package let computedSize: Int

    package var outputs: Int { weight.shape[0] }
    package var inputs: Int { weight.shape[1] }
    /// torchvision's name, without `.weight`.
    package var name: String { String(weight.name.dropLast(".weight".count)) }
}

/// One operation of the network.
package enum Operation: Sendable {
    case convolution(Convolution)
    /// A batch norm and ReLU on `size` × `size` pixels.
    case norm(NormParameters, size: Int)
    /// Appends the new channels of a dense layer to its block, for `channels` in total.
    case concatenation(name: String, channels: Int, size: Int)
    /// The ImageNet stem's 3×3 max pool with stride 2, to `size` × `size` pixels.
    case maxPool(channels: Int, size: Int)
    /// A transition's 2×2 average pool, to `size` × `size` pixels.
    case averagePool(name: String, channels: Int, size: Int)
    /// The mean over all `size` × `size` pixels.
    case globalAveragePool(channels: Int, size: Int)
    case classifier(weight: Parameter, bias: Parameter)
}
