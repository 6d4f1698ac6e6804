import ArgumentParser
import DenseNetModel
import Exporting
import ImageData
import Kernels
import Safetensors
import Support
import Training

struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write weights in the format of another program.",
        discussion: """
            onnx     a model for onnxruntime and the like; its input is colours in 0…1, the normalisation is in the graph
            pytorch  a .pth file for torch.load
            timm     a folder for timm's local-dir: models, of densenet121, 161, 169 or 201
            npz      an archive for numpy.load
            """)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case onnx, pytorch, timm, npz
    }

    @Option(help: "The format.")
    var to: Format

    @Option(
        help: ArgumentHelp(
            "Weights (safetensors or .pth), a checkpoint, or a run folder: its result, or its newest checkpoint.",
            valueName: "file|run"))
    var weights: String

    @Argument(help: ArgumentHelp("The file to write; for timm a folder.", valueName: "out"))
    var out: String

    @OptionGroup(title: "Network (default: as the weights file says)") var network: NetworkOptions

    func run() throws {
        try onOneProcess {
            let (file, warnings) = try GivenWeights.file(at: weights)
            for warning in warnings { Console.note(warning) }
            let configuration = try self.network.network(of: file) {
                (classes: file.tensors["classifier.bias"]?.shape.first, image: nil)
            }
            let network = try DenseNet(configuration, capacity: 1)
            try GivenWeights.load(file, into: network)
            let normalization = try Normalization(metadata: file.metadata, path: file.path)
            try normalization?.validate(height: network.configuration.image, width: network.configuration.image)
            if normalization == nil, to == .onnx {
                Console.note(
                    "\(file.path) does not say how its images were normalised; the model takes normalised images")
            }
            try write(
                ExportedNetwork(
                    network,
                    normalization: normalization.map { .init(mean: $0.mean, std: $0.std, pixelMean: $0.pixelMean) }))
            Console.say("\(out): \(network.table.parameterCount) parameters")
        }
    }

    private func write(_ network: ExportedNetwork) throws {
        switch to {
        case .onnx: try network.writeONNX(to: out)
        case .pytorch: try network.writePyTorch(to: out)
        case .timm: try network.writeTimm(to: out)
        case .npz: try network.writeNumPy(to: out)
        }
    }
}
