import ArgumentParser
import Kernels
import Support

/// The number of threads per rank.
struct ThreadOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Threads of each rank (default: the host's cores, shared by its ranks). Results do not depend on it in a single bit.",
            valueName: "n"))
    var threads: Int?
}

/// The number of threads per rank that read images ahead.
struct LoaderOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Threads of each rank that read images while it computes (default: 1, or of pictures a quarter of its threads). Results do not depend on it in a single bit.",
            valueName: "n"))
    var loaderThreads: Int?
}

/// The element type of the network's multiplications.
struct PrecisionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "What dense layers multiply in: f32 (default), or bf16, faster on AMD CPUs with avx512_bf16 and Intel CPUs with amx_bf16.",
            valueName: "type"))
    var precision: Precision?

    var value: Precision { precision ?? .float32 }
}

/// How many images a command that does not train takes at once.
struct BatchOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Images per step over all ranks.", valueName: "images"))
    var batchSize = 64

    /// - Throws: `Failure(.usage)` for a size out of range.
    func requireValid() throws {
        guard (1...1_000_000).contains(batchSize) else {
            throw Failure(.usage, "--batch-size is \(batchSize), expected 1 to 1,000,000")
        }
    }
}
