import ArgumentParser
import ImageData
import Training

struct Synthesize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write the synthetic images in CIFAR-10's binary layout, or as pictures.",
        usage: "densenet synthesize [<options>] <folder>",
        discussion: """
            As many images as CIFAR-10 has, 185 MB:
              ./launch.sh synthesize images

            A few, to try something:
              ./launch.sh synthesize few --train 500 --test 100

            Others of the same classes, as PNG files in folders of their classes:
              ./launch.sh synthesize shapes --pictures --train 500
            """)

    @Argument(
        help: ArgumentHelp("The folder to write into; it is made.", valueName: "folder"), completion: .directory)
    var out: String

    @OptionGroup(title: "Images") var images: ImageOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct ImageOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Training images, 5 to 50,000.", valueName: "n"))
        var train = 50_000

        @Option(help: ArgumentHelp("Test images, 1 to 10,000.", valueName: "n"))
        var test = 10_000

        @Flag(help: "Write PNG files in train/CLASS and test/CLASS, of any number of images.")
        var pictures = false

        @OptionGroup var imageSeed: ImageSeedOptions
    }

    func run() throws {
        try onOneProcess {
            let (train, test) = (images.train, images.test)
            let write = images.pictures ? writePictures : writeRecords
            try write(out, train, test, images.imageSeed.seed)
            Console.say(
                "\(out): \(train) training and \(test) test images of \(SyntheticImages.classNames.count) classes")
        }
    }

    private func writeRecords(_ folder: String, train: Int, test: Int, seed: UInt64) throws {
        try SyntheticImages.write(to: folder, train: train, test: test, seed: seed)
    }

    private func writePictures(_ folder: String, train: Int, test: Int, seed: UInt64) throws {
        try SyntheticImages.writePictures(to: folder, train: train, test: test, seed: seed)
    }
}
