import ArgumentParser
import Benchmarking
import Kernels
import Support
import Training

struct Verify: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare this build, on this machine and this number of ranks, with PyTorch's results.",
        usage: "densenet verify [<options>] [<file> ...]",
        discussion: """
            Prints the norm of (ours - reference), divided by that of the reference, for
            each quantity; the exit code is 1 where one is above the tolerance.

            One rank, and three, against the results that come with the program:
              ./launch.sh -n 1 verify
              ./launch.sh -n 3 verify

            Two ranks of two threads each, with more room:
              ./launch.sh -n 2 verify --threads 2 --tolerance 1e-4
            """)

    @Argument(
        help: ArgumentHelp("Golden files; without any, those that come with the program.", valueName: "file"),
        completion: .file())
    var files: [String] = []

    @OptionGroup(title: "Comparison") var comparison: ComparisonOptions
    @OptionGroup(title: "Speed") var threads: ThreadOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct ComparisonOptions: ParsableArguments {
        @Option(help: ArgumentHelp("The largest relative error that passes.", valueName: "error"))
        var tolerance = 1e-5
    }

    private var tolerance: Double { comparison.tolerance }

    var imagesPerStep: Int? { nil }

    func run() throws {
        let values = [
            NamedValue("--tolerance", "\(tolerance)"), NamedValue("the golden files", files.joined(separator: ", ")),
        ]
        try withRanks(agreeingOn: values) { world in
            func say(_ line: String) { if world.rank == 0 { Console.say(line) } }
            say(
                "\(world.size) rank\(world.size == 1 ? "" : "s"), vector level \(VectorLevel.current), \(processorName())"
            )
            var failed = 0
            for file in try files.isEmpty ? GoldenVerification.shippedFiles(world) : files {
                say(file)
                for error in try GoldenVerification(path: file, threads: threads.threads ?? 1, communicator: world)
                    .run()
                {
                    let passes = error.relative <= tolerance
                    if !passes { failed += 1 }
                    let verdict = passes ? "" : "  above \(tolerance.scientific)"
                    say("  \(error.name.padding(to: 22)) \(error.relative.scientific)\(verdict)")
                }
            }
            guard failed == 0 else {
                throw world.markAgreed(
                    Failure(.differs, "\(failed) quantities differ from the reference by more than \(tolerance)"))
            }
        }
    }
}

extension String {
    func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
