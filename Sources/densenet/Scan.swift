import ArgumentParser
import DataParallel
import ImageData
import Support
import Training

struct Scan: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Open every picture of a folder and say what is in it.",
        usage: "densenet scan <folder> [<options>]",
        discussion: """
            Prints classes, sizes, the colours' means and deviations, what cannot be used,
            and files that are both trained on and tested with; the exit code is 65 where a
            picture cannot be used.

            A folder with train and test, with a folder for each class in both:
              ./launch.sh scan plants

            One with a folder for each class, a tenth of the pictures to test with:
              ./launch.sh scan plants --split 0.1

            The pictures of a list, for another program:
              ./launch.sh scan plants --list plants.csv --split 0.1 --json
            """)

    @Argument(help: ArgumentHelp("The folder of pictures.", valueName: "folder"), completion: .directory)
    var folder: String

    @OptionGroup(title: "Data") var pictures: PictureOptions
    @OptionGroup(title: "Data") var imageSeed: ImageSeedOptions
    @OptionGroup(title: "Output") var json: JSONOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Safety") var watchdog: WatchdogOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    var imagesPerStep: Int? { nil }

    func run() throws {
        var source = RunConfiguration.DataSource(path: folder)
        pictures.apply(to: &source)
        let values = NamedValue.all(of: source, except: ["path", "list"])
        try withWatchedRanks(watchdog, agreeingOn: values) { world, _ in
            try world.throwOnAllRanks { try source.validate() }
            let scan = try PictureScan(source, seed: imageSeed.seed, communicator: world)
            if world.rank == 0 { try json.isOn ? Console.say(json: Report(scan)) : say(scan) }
            guard scan.problems.isEmpty else {
                let count = scan.problems.count == 1 ? "1 picture" : "\(scan.problems.count) pictures"
                throw world.markAgreed(Failure(.data, "\(folder): \(count) cannot be used; mend or remove them"))
            }
        }
    }

    private func say(_ scan: PictureScan) {
        for warning in scan.warnings { Console.note(warning) }
        let counts = "\(scan.train.reduce(0, +)) pictures to train on, \(scan.test.reduce(0, +)) to test with"
        Console.say("\(folder): \(scan.classNames.count) classes, \(counts)")
        let width = max(scan.classNames.map(\.count).max() ?? 0, 5)
        Console.say("class".padding(to: width) + "     train      test")
        for (label, name) in scan.classNames.enumerated() {
            let numbers = [scan.train[label], scan.test[label]].map { Double($0).formatted(places: 0, width: 10) }
            Console.say(name.padding(to: width) + numbers.joined())
        }
        for (name, spread) in [("width", scan.widths), ("height", scan.heights)] {
            guard let spread else { continue }
            Console.say("\(name): \(spread.least) to \(spread.most) pixels, median \(spread.median)")
        }
        if let normalization = scan.normalization {
            func text(_ numbers: [Float]) -> String {
                numbers.map { Double($0).formatted(places: 4) }.joined(separator: ",")
            }
            Console.say("--mean \(text(normalization.mean)) --std \(text(normalization.std))")
        }
        for duplicate in scan.duplicates {
            Console.say("the same picture: \(duplicate.train) and \(duplicate.test)")
        }
        for problem in scan.problems { Console.say(problem) }
    }
}

/// What `--json` prints.
private struct Report: Encodable {
    struct Class: Encodable {
        let name: String
        let train, test: Int
    }

    let classes: [Class]
    let heights, widths: PictureScan.Spread?
    let mean, std: [Float]?
    let problems: [String]
    let duplicates: [PictureScan.Duplicate]

    init(_ scan: PictureScan) {
        classes = scan.classNames.enumerated().map { label, name in
            Class(name: name, train: scan.train[label], test: scan.test[label])
        }
        (heights, widths) = (scan.heights, scan.widths)
        (mean, std) = (scan.normalization?.mean, scan.normalization?.std)
        (problems, duplicates) = (scan.problems, scan.duplicates)
    }
}
