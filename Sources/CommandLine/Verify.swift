import ArgumentParser
import CKernels
import Kernels
import Training

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Hold this build, on this machine and with so many ranks, against a golden file of PyTorch's results.",
        discussion: "Prints ‖ours − reference‖ / ‖reference‖ of each quantity; exit code 1 where one is above the tolerance.")

    @Argument(help: "Golden files.")
    var files: [String]

    @Option(help: "The largest error that passes.")
    var tolerance = 1e-4

    @OptionGroup(title: "Threads") var threads: ThreadOptions

    func run() throws {
        try withRanks { world in
            var failed = 0
            for file in files {
                if world.rank == 0 {
                    let ranks = "\(world.size) rank\(world.size == 1 ? "" : "s")"
                    Console.say("\(file): \(ranks), vector level \(String(cString: ck_level()))")
                }
                for error in try GoldenVerification(path: file, threads: threads.threads ?? 1, communicator: world).run() {
                    let passes = error.relative <= tolerance
                    if !passes { failed += 1 }
                    if world.rank == 0 {
                        let name = error.name.padding(to: 22)
                        Console.say("  \(name) \(error.relative.scientific)\(passes ? "" : "  above \(tolerance.scientific)")")
                    }
                }
            }
            guard failed == 0 else {
                throw world.agreed(Failure(.differs, "\(failed) quantities differ from the reference by more than \(tolerance)"))
            }
        }
    }
}

extension String {
    func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
