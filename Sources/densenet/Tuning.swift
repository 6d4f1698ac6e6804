import Benchmarking
import FoundationEssentials
import Glibc
import Support

/// `bench --tune`: one short benchmark for each sensible layout of this host, started by launch.sh as any other.
struct Tuning {
    /// The user's, in images over all ranks; its double is tried as well.
    let batchSize: Int
    let steps: Int
    /// The words that the user has given beside those of `--tune`: network, precision, a file of options.
    private let words: [String]

    init(batchSize: Int, steps: Int, arguments: [String] = Array(CommandLine.arguments.dropFirst(2))) {
        self.batchSize = batchSize
        self.steps = steps
        var words: [String] = []
        var isValue = false
        for word in arguments {
            if !isValue, word != "--tune", word.wholeMatch(of: /--(steps|batch-size)(=.*)?/) == nil {
                words.append(word)
            }
            isValue = !isValue && ["--steps", "--batch-size"].contains(word)
        }
        self.words = words
    }

    /// A layout that is tried.
    struct Candidate: Equatable {
        let ranks, threads, batchSize: Int
    }

    /// All cores for each: a rank a core, and fewer ranks with more threads down to one, by halves. More ranks than
    /// images are none.
    static func candidates(cores: Int, batchSize: Int) -> [Candidate] {
        let layouts = sequence(first: cores) { $0 > 1 ? $0 / 2 : nil }.map { (ranks: $0, threads: cores / $0) }
        return [batchSize, 2 * batchSize].flatMap { images in
            layouts.filter { $0.ranks <= images }.map {
                Candidate(ranks: $0.ranks, threads: $0.threads, batchSize: images)
            }
        }
    }

    /// - Throws: `Failure(.unavailable)` without launch.sh, or where no layout could be timed.
    func run() throws {
        guard let script = getenv("DENSENET_LAUNCH").map({ String(cString: $0) }) else {
            throw Failure(.unavailable, "--tune starts benchmarks by launch.sh; run it as: ./launch.sh bench --tune")
        }
        let candidates = Self.candidates(cores: HostTopology().cores, batchSize: batchSize)
        Console.say("ranks  threads   batch  images/s   ms a step  MiB a rank")
        var fastest: (candidate: Candidate, rate: Double)?
        for candidate in candidates {
            let layout =
                "\(candidate.ranks)".padded(5) + "\(candidate.threads)".padded(9) + "\(candidate.batchSize)".padded(8)
            do {
                let report = try time(candidate, script)
                Console.say(
                    layout + report.imagesPerSecond.formatted(places: 1, width: 10)
                        + (1000 * report.stepSeconds.median).formatted(places: 1, width: 12)
                        + "\(report.peakMemoryBytes >> 20)".padded(12))
                // A larger batch is another recipe: the command is for the user's own.
                if candidate.batchSize == batchSize, report.imagesPerSecond > fastest?.rate ?? 0 {
                    fastest = (candidate, report.imagesPerSecond)
                }
            } catch let failure as Failure {
                Console.say("\(layout)  \(failure.message)")
            }
        }
        guard let (best, _) = fastest else { throw Failure(.unavailable, "no layout could be timed") }
        let options = ["--ranks-per-node", "\(best.ranks)", "--threads", "\(best.threads)", "train"] + words
        Console.say(
            "fastest with \(batchSize) images a step: ./launch.sh \(options.joined(separator: " ")) --batch-size \(batchSize)"
        )
    }

    private func time(_ candidate: Candidate, _ script: String) throws -> BenchReport {
        let job = try ChildProcess(
            script,
            ["--ranks-per-node", "\(candidate.ranks)", "--threads", "\(candidate.threads)", "bench"] + words
                + ["--steps", "\(steps)", "--batch-size", "\(candidate.batchSize)", "--json"])
        let output = try job.readAll()
        let (code, errors) = try job.end()
        guard code == 0, let report = try? JSONDecoder().decode(BenchReport.self, from: Data(output)) else {
            throw Failure(.unavailable, errors.split(separator: "\n").last.map(String.init) ?? "ended with \(code)")
        }
        return report
    }
}

extension String {
    fileprivate func padded(_ width: Int) -> String { String(repeating: " ", count: max(0, width - count)) + self }
}
