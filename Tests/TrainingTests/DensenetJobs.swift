import DenseNetModel
import FoundationEssentials
import TestSupport
import Testing
import Training

/// A network and images so small that a job takes a second, mostly to start.
let smallNetwork = ["--blocks", "1,1", "--growth-rate", "4", "--stem-channels", "4", "--image", "8"]
let smallRun = smallNetwork + ["--limit-train", "64", "--limit-test", "32", "--batch-size", "16"]

/// The network of `smallNetwork`, with initial weights.
func freshSmallNetwork() throws -> DenseNet {
    let network = try DenseNet(
        DenseNetConfiguration(
            stem: .cifar, blocks: [1, 1], growthRate: 4, stemChannels: 4, bottleneck: true, compression: 0.5,
            classes: 10, image: 8),
        capacity: 1)
    network.initialize(seed: 1)
    return network
}

/// Runs the built program; on one rank without mpirun.
func densenet(
    _ arguments: [String], ranks: Int = 1, environment: [String: String?] = [:], timeout: Double = 60
) throws -> ProgramResult {
    ranks == 1
        ? try run(builtExecutable(named: "densenet"), arguments, environment: environment, timeout: timeout)
        : try mpirun(
            ranks: ranks, program: "densenet", arguments: arguments, environment: environment, timeout: timeout)
}

/// Trains to the end, which must succeed, and returns the contents of the run folder.
@discardableResult
func train(
    _ options: [String], out path: String, ranks: Int = 1, sourceLocation: SourceLocation = #_sourceLocation
) throws -> FinishedRun {
    let job = try densenet(["train", "--out", path] + options, ranks: ranks)
    try #require(job.status == 0, "\(job.output)\(job.errors)", sourceLocation: sourceLocation)
    return try FinishedRun(path: path)
}

/// Resumes a run to its end, which must succeed.
@discardableResult
func resume(_ path: String, ranks: Int = 1, sourceLocation: SourceLocation = #_sourceLocation) throws -> FinishedRun {
    let job = try densenet(["train", "--resume", path], ranks: ranks)
    try #require(job.status == 0, "\(job.output)\(job.errors)", sourceLocation: sourceLocation)
    return try FinishedRun(path: path)
}

/// The contents of a run folder.
struct FinishedRun {
    let path: String
    /// The bytes of weights.safetensors.
    let weights: Data
    /// The bytes of ema.safetensors, if there is one.
    let averages: Data?
    let epochs: [EpochMetrics]

    init(path: String) throws {
        self.path = path
        weights = try Data(contentsOf: URL(filePath: path + "/weights.safetensors"))
        averages = try? Data(contentsOf: URL(filePath: path + "/ema.safetensors"))
        epochs = try readMetrics(path)
    }

    /// The weights without what the file says of their training.
    var tensors: Data { Self.tensors(weights) }
    /// Likewise, their average.
    var averageTensors: Data? { averages.map(Self.tensors) }

    private static func tensors(_ file: Data) -> Data {
        file.dropFirst(8 + file.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) })
    }

    /// All numbers that do not depend on the clock, exactly, one list per epoch.
    var results: [[Double]] {
        epochs.map {
            [Double($0.epoch), $0.learningRate, $0.trainAccuracy, $0.testAccuracy] + $0.losses + $0.measures.numbers
        }
    }

    /// The largest relative difference between the losses of two runs.
    func lossDifference(to other: FinishedRun) -> Double {
        guard epochs.map(\.epoch) == other.epochs.map(\.epoch) else { return .infinity }
        return zip(epochs.flatMap(\.losses), other.epochs.flatMap(\.losses)).map { abs($0 - $1) / $1 }.max()
            ?? .infinity
    }
}

extension ClassMeasures {
    var numbers: [Double] { [macroRecall, macroPrecision, topFive, auroc].map { $0 ?? -1 } }
}

extension EpochMetrics {
    var losses: [Double] { [trainLoss, testLoss] + furtherResults.map(\.result.loss) }
}

/// The epochs in a run folder's metrics.jsonl; none if it does not exist yet.
func readMetrics(_ path: String) throws -> [EpochMetrics] {
    try metricsLines(path).filter { !isOfSteps($0) }.map { try JSONDecoder().decode(EpochMetrics.self, from: $0) }
}

/// The lines of steps in a run folder's metrics.jsonl.
func readStepRecords(_ path: String) throws -> [StepRecord] {
    try metricsLines(path).filter(isOfSteps).map { try JSONDecoder().decode(StepRecord.self, from: $0) }
}

private func metricsLines(_ path: String) throws -> [Data] {
    let path = path + "/metrics.jsonl"
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    return try Data(contentsOf: URL(filePath: path)).split(separator: UInt8(ascii: "\n"))
}

/// Whether a line of metrics.jsonl has the key `step`, as users tell the two kinds apart.
private func isOfSteps(_ line: Data) -> Bool { String(decoding: line, as: UTF8.self).contains(#""step":"#) }

extension String {
    /// Lines without the line feeds.
    var lines: [Substring] { split(separator: "\n") }
}
