import DenseNetModel
import Safetensors
import Support

/// A network with its weights, to be written in another program's format.
package struct ExportedNetwork {
    /// How colours in 0…1 become the network's input: `(colour − mean) / std` per channel, then less a mean per pixel,
    /// if there is one.
    package struct Normalization {
        /// A number for each of the images' channels.
        package let mean: [Float]
        /// Positive numbers, likewise.
        package let std: [Float]
        /// Shape [channels][image][image].
        package let pixelMean: [Float]?

        package init(mean: [Float], std: [Float], pixelMean: [Float]?) {
            self.mean = mean
            self.std = std
            self.pixelMean = pixelMean
        }
    }

    let network: DenseNet
    let normalization: Normalization?

    /// - Parameter normalization: nil where it is not known; the export then reads images that are normalized already.
    package init(_ network: DenseNet, normalization: Normalization?) {
        self.network = network
        self.normalization = normalization
    }

    var configuration: DenseNetConfiguration { network.configuration }

    /// Hands out all tensors in torchvision's names and shapes.
    func withTensors<Result>(_ body: ([NamedTensor]) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(network) { try body(WeightsFile.tensors(of: network)) }
    }

    /// The names that PyTorch's batch norms have for the number of batches they have seen.
    var batchCounterNames: [String] {
        network.table.runningStatistics.map(\.name).filter { $0.hasSuffix(Self.meanSuffix) }.map {
            $0.dropLast(Self.meanSuffix.count) + ".num_batches_tracked"
        }
    }

    private static let meanSuffix = ".running_mean"
}
