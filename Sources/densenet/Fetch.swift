import ArgumentParser
import Fetching
import Support

struct Fetch: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Download CIFAR-10 or CIFAR-100, check it and unpack it, for --data cifar10 or cifar100.",
        usage: "densenet fetch [<options>] <set>",
        discussion: """
            A download that was cut off goes on at the next call. Where the data set is
            there already nothing is done. Proxies are taken from the environment
            (https_proxy, http_proxy), as curl does.

            CIFAR-10, to be used by train --data cifar10:
              ./launch.sh fetch cifar10

            CIFAR-100 into a folder that other nodes see:
              ./launch.sh fetch cifar100 --to /scratch/images

            An archive that came here by other ways:
              ./launch.sh fetch cifar10 --from cifar-10-binary.tar.gz
            """)

    @Argument(help: ArgumentHelp("cifar10 or cifar100.", valueName: "set"))
    var set: FetchableSet

    @OptionGroup(title: "Archive") var source: ArchiveOptions
    @OptionGroup(title: "Output") var place: PlaceOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct ArchiveOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "The archive on this machine, fetched elsewhere (default: it is downloaded).", valueName: "file"),
            completion: .file())
        var from: String?

        @Option(
            help: ArgumentHelp(
                "Download the archive from here (default: its home at the University of Toronto).",
                valueName: "address"))
        var url: String?

        @Option(help: ArgumentHelp("The MD5 sum of the archive (default: the official one's).", valueName: "sum"))
        var md5: String?

        func validate() throws {
            guard from == nil || url == nil else {
                throw ValidationError("--from and --url both say where the archive is; leave one out")
            }
        }
    }

    struct PlaceOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp("Where the folder of the data set is made.", valueName: "folder"),
            completion: .directory)
        var to = FetchableSet.place
    }

    func run() throws {
        try onOneProcess {
            let archive = try set.archive.with(url: source.url, md5: source.md5)
            let line = FetchProgress(name: set.archive.name)
            let result: DataSetFetch.Result
            do {
                defer { line.finish() }
                result = try DataSetFetch(archive, into: place.to, progress: line.update).run(from: source.from)
            }
            for warning in result.warnings { Console.note(warning) }
            let name = place.to == FetchableSet.place ? set.rawValue : result.path
            Console.say(
                "\(result.path)\(result.isNew ? "" : " is there already"): \(result.trainImages) training and "
                    + "\(result.testImages) test images, for --data \(name)")
        }
    }
}

/// A data set that `fetch` brings, by the name that `--data` has for it.
enum FetchableSet: String, ExpressibleByArgument, CaseIterable {
    case cifar10, cifar100

    var archive: DataSetArchive {
        switch self {
        case .cifar10: .cifar10
        case .cifar100: .cifar100
        }
    }

    /// Below the current folder, which the ranks of a job share.
    static let place = "data"

    /// Where `--data` looks for it.
    var folder: String { "\(Self.place)/\(archive.variant.folder)" }
}
