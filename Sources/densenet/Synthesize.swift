import ArgumentParser
import ImageData
import Training

struct Synthesize: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Write the synthetic images in CIFAR-10's binary layout.")

    @Argument(help: "The folder to write into; it is made.")
    var out: String

    @OptionGroup var file: ConfigOptions

    @Option(help: "Training images, 5 to 50,000.")
    var train = 50_000

    @Option(help: "Test images, 1 to 10,000.")
    var test = 10_000

    @Option(help: "What the images are drawn from.", transform: seedNumber)
    var seed: UInt64 = 1

    func run() throws {
        try onOneProcess {
            try SyntheticImages.write(to: out, train: train, test: test, seed: seed)
            Console.say(
                "\(out): \(train) training and \(test) test images of \(SyntheticImages.classNames.count) classes")
        }
    }
}
