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
            A model for onnxruntime; its input is colours in 0 to 1, the normalization is
            in the graph:
              ./launch.sh export --to onnx first.onnx --weights runs/first

            A file for torch.load:
              ./launch.sh export --to pytorch first.pth --weights runs/first

            An archive for numpy.load:
              ./launch.sh export --to npz first.npz --weights runs/first
            """)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case onnx, pytorch, timm, npz
    }

    struct FormatOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "onnx, pytorch (a .pth file), timm (a folder for timm's local-dir: models, of densenet121, 161, 169 or 201), or npz. Required.",
                valueName: "format"))
        var to: Format
    }

    @Argument(
        help: ArgumentHelp("The file to write; for timm a folder.", valueName: "out"), completion: .file())
    var out: String

    @OptionGroup(title: "Output") var format: FormatOptions
    @OptionGroup(title: "Weights") var weights: WeightsOptions
    @OptionGroup(title: "Network (default: as the weights file says)") var network: NetworkOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    func run() throws {
        try onOneProcess {
            let (file, warnings) = try GivenWeights.file(at: weights.path)
            for warning in warnings { Console.note(warning) }
            let configuration = try self.network.network(of: file) {
                (classes: file.tensors["classifier.bias"]?.shape.first, image: nil)
            }
            let network = try DenseNet(configuration, capacity: 1)
            try GivenWeights.load(file, into: network)
            let normalization = try Normalization(metadata: file.metadata, path: file.path)
            try normalization?.validate(
                channels: network.configuration.imageChannels, height: network.configuration.image,
                width: network.configuration.image)
            if normalization == nil, format.to == .onnx {
                Console.note(
                    "\(file.path) does not say how its images were normalized; the model takes normalized images")
            }
            try write(
                ExportedNetwork(
                    network,
                    normalization: normalization.map { .init(mean: $0.mean, std: $0.std, pixelMean: $0.pixelMean) }))
            Console.say("\(out): \(network.table.parameterCount) parameters")
        }
    }

    private func write(_ network: ExportedNetwork) throws {
        switch format.to {
        case .onnx: try network.writeONNX(to: out)
        case .pytorch: try network.writePyTorch(to: out)
        case .timm: try network.writeTimm(to: out)
        case .npz: try network.writeNumPy(to: out)
        }
    }
}
