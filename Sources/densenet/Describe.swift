import ArgumentParser
import DenseNetModel
import Support
import Training

struct Describe: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Every layer's shape, parameters and work; totals; memory of a training step.",
        discussion: """
            A network of the paper for ImageNet, and one for CIFAR in steps of 32 images:
              ./launch.sh describe densenet121
              ./launch.sh describe densenet-bc-100-12 --batch-size 32

            A network of one's own, for another program:
              ./launch.sh describe --blocks 4,4 --growth-rate 8 --json
            """)

    @Argument(
        help: ArgumentHelp("\(DenseNetConfiguration.modelNames); or none, with --blocks.", valueName: "model"),
        completion: NetworkOptions.modelCompletion)
    var name: String?

    @OptionGroup(title: "Network") var network: NetworkOptions
    @OptionGroup(title: "Memory") var memory: MemoryOptions
    @OptionGroup(title: "Output") var json: JSONOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct MemoryOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Images per rank and step.", valueName: "images"))
        var batchSize = 64

        @Option(
            help: ArgumentHelp(
                "Images of a group, as train has it: activations are of one group at a time (default: of all images).",
                valueName: "images"))
        var statisticsGroup: Int?
    }

    func run() throws {
        try onOneProcess {
            var options = network
            if let name {
                guard options.model == nil, options.blocks == nil else {
                    throw Failure(.usage, "'\(name)' and an option both name a network; leave one out")
                }
                options.model = name
            }
            guard options.model != nil || options.blocks != nil else {
                throw Failure(.usage, "describe needs a model: \(DenseNetConfiguration.modelNames), or --blocks")
            }
            let configuration = try options.network(default: "").network
            let description = try NetworkDescription(
                configuration, batchSize: memory.batchSize, statisticsGroup: memory.statisticsGroup)
            if json.isOn { try Console.say(json: Report(description)) } else { Console.say("\(description)") }
        }
    }
}

/// What `--json` prints.
private struct Report: Encodable {
    struct Layer: Encodable {
        let name, operation: String
        let shape: [Int]
        let parameters, multiplyAccumulates: Int
    }

    let name: String
    let network: DenseNetConfiguration
    let depth, parameters, multiplyAccumulates, batchSize, trainingBytes: Int
    let layers: [Layer]

    init(_ description: NetworkDescription) {
        name = description.name
        network = description.configuration
        depth = description.depth
        parameters = description.parameters
        multiplyAccumulates = description.multiplyAccumulates
        batchSize = description.batchSize
        trainingBytes = description.trainingBytes
        layers = description.layers.map {
            Layer(
                name: $0.name, operation: $0.operation, shape: $0.shape, parameters: $0.parameters,
                multiplyAccumulates: $0.multiplyAccumulates)
        }
    }
}
