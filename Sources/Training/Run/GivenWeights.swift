import DenseNetModel
import Safetensors

/// Weights in a file that the user names: ours, PyTorch's, or a checkpoint of a run, whose momenta are left out.
package enum GivenWeights {
    /// Reads weights to evaluate.
    ///
    /// - Throws: as `WeightsFile.load`.
    package static func load(_ file: SafetensorsFile, into network: DenseNet) throws {
        try WeightsFile.load(file, into: network, ignoring: momenta(in: file))
    }

    /// Reads weights to begin from. A classifier for another number of classes leaves the network's own.
    ///
    /// - Returns: a line for the user where that is so.
    /// - Throws: as `SafetensorsFile.init` and `WeightsFile.load`.
    static func begin(_ network: DenseNet, from path: String) throws -> String? {
        let file = try SafetensorsFile(path: path)
        guard
            let classes = try WeightsFile.load(
                file, into: network, ignoring: momenta(in: file), sparingClassifier: true)
        else {
            return nil
        }
        return "\(path): its classifier is for \(classes) classes, this network has \(network.configuration.classes); "
            + "the classifier begins anew"
    }

    private static func momenta(in file: SafetensorsFile) -> String? {
        RunState.isOfCheckpoint(file.metadata) ? momentumPrefix : nil
    }
}
