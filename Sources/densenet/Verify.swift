import ArgumentParser
import Benchmarking
import Kernels
import Support
import Training

struct Verify: RankedCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare this build, on this machine and this number of ranks, with PyTorch's results.",
        discussion:
            "Prints ‖ours − reference‖ / ‖reference‖ of each quantity; exit code 1 where one is above the tolerance.")

    @Argument(help: "Golden files; without any, those that come with the program.")
    var files: [String] = []

    @OptionGroup var file: ConfigOptions

    @Option(help: "The largest error that passes.")
    var tolerance = 1e-5

    @OptionGroup(title: "Threads") var threads: ThreadOptions

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
