import ArgumentParser
import DenseNetModel
import Support
import Training

struct Describe: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Every layer's shape, parameters and work; totals; memory of a training step.")

    @Argument(help: ArgumentHelp("\(DenseNetConfiguration.modelNames); or none, with --blocks.", valueName: "model"))
    var name: String?

    @OptionGroup(title: "Network") var network: NetworkOptions

    @OptionGroup var file: ConfigOptions

    @Option(help: "Images per rank and step.")
    var batchSize = 64

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
            Console.say("\(try NetworkDescription(configuration, batchSize: batchSize))")
        }
    }
}
