import DenseNetModel
import Safetensors
import Support

/// Weights in a file that the user names: ours, PyTorch's, or a checkpoint of a run, whose momenta and averages are
/// left out.
package enum GivenWeights {
    /// Opens a weights file, a checkpoint, or what a run folder has: the run's result, or the newest valid checkpoint
    /// of a run that is not done.
    ///
    /// - Returns: the file, and a line for the user for each newer checkpoint that is damaged.
    /// - Throws: as `SafetensorsFile.init` and `CheckpointFolder.newestValid`; `Failure(.noInput)` for a folder without
    ///   either.
    package static func file(at path: String) throws -> (file: SafetensorsFile, warnings: [String]) {
        guard PathKind(of: path) == .folder else { return (try SafetensorsFile(path: path), []) }
        let weights = RunFolder.weights(of: path)
        if try FileSystem.exists(weights) { return (try SafetensorsFile(path: weights), []) }
        let checkpoints = RunFolder.checkpoints(of: path)
        guard try FileSystem.exists(checkpoints),
            let newest = try CheckpointFolder(path: checkpoints).newestValid()
        else {
            throw Failure(
                .noInput,
                "\(path): neither weights.safetensors nor a checkpoint in it; name a weights file or a run folder")
        }
        return (newest.checkpoint.file, newest.warnings)
    }

    /// Reads weights to evaluate.
    ///
    /// - Throws: as `WeightsFile.load`.
    package static func load(_ file: SafetensorsFile, into network: DenseNet) throws {
        try WeightsFile.load(file, into: network, ignoring: others(in: file))
    }

    /// Reads weights to begin from. A classifier for another number of classes leaves the network's own; a stem for
    /// colours is added up for one for grey.
    ///
    /// - Parameter isStrict: whether to refuse such a classifier.
    /// - Returns: lines for the user.
    /// - Throws: as `SafetensorsFile.init` and `WeightsFile.load`; `Failure(.data)` for a classifier that is refused.
    static func begin(_ network: DenseNet, from path: String, isStrict: Bool) throws -> [String] {
        let file = try SafetensorsFile(path: path)
        let adaptation = try WeightsFile.load(file, into: network, ignoring: others(in: file), adapting: true)
        var lines: [String] = []
        if adaptation.isGreyOfColour {
            lines.append(
                "\(path): its stem reads red, green and blue, this network grey; the weights of the three are added up")
        }
        guard let classes = adaptation.otherClasses else { return lines }
        let difference =
            "\(path): its classifier is for \(classes) classes, this network has \(network.configuration.classes); "
        guard !isStrict else {
            throw Failure(.data, difference + "give weights for as many, or leave out `initStrict` to begin it anew")
        }
        return lines + [difference + "the classifier begins anew"]
    }

    private static func others(in file: SafetensorsFile) -> [String] {
        RunState.isOfCheckpoint(file.metadata) ? [momentumPrefix, averagePrefix] : []
    }
}
