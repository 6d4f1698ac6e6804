import DataParallel
import ImageData
import Support

/// What a run will take, from a few of its steps. Nothing is written.
package struct RunEstimate: Sendable {
    package let stepsPerEpoch: Int
    /// Of the whole run.
    package let steps: Int
    /// Epochs, the last of which may be a part, each with an evaluation.
    package let epochs: Int
    /// The median of the steps timed.
    package let stepSeconds: Double
    /// What follows an epoch, from a few batches of an evaluation.
    package let evaluationSeconds: Double
    /// What follows the last epoch, likewise.
    private let lastEvaluationSeconds: Double
    /// Bytes that the rank that takes most has had in use, with what checkpoints take beside.
    package let rankMemory: Int
    /// The bytes that the ranks of rank zero's host may take together.
    package let hostMemory: Int
    /// Of rank zero's host.
    package let ranksOnHost: Int
    /// Bytes of all checkpoints and weights that the run folder has at a time.
    package let diskBytes: Int

    /// Opens the data, builds the network and times three steps. Collective.
    ///
    /// - Throws: on all ranks the failure of the first rank that has one, as a run would.
    package init(_ configuration: RunConfiguration, threads: Int?, communicator: Communicator) throws {
        try communicator.throwOnAllRanks { try configuration.validate(worldSize: communicator.size) }
        let parts = try RunParts(configuration, threads: threads, communicator: communicator)
        parts.step.network.initialize(seed: configuration.seed)
        stepsPerEpoch = parts.sampler.stepsPerEpoch
        steps = min(configuration.epochs * stepsPerEpoch, configuration.steps ?? .max)
        epochs = (steps - 1) / stepsPerEpoch + 1
        stepSeconds = try Self.timeSteps(parts, communicator)
        let passSeconds = try Self.timeBatches(parts.evaluator) * Double(parts.evaluator.steps)
        let passes = configuration.evaluationPasses
        (evaluationSeconds, lastEvaluationSeconds) = (
            passSeconds * Double(passes.each), passSeconds * Double(passes.last)
        )
        let network = parts.step.network
        let weights = 4 * (network.parameters.count + network.runningStatistics.count)
        let averages = configuration.averageDecay == nil ? 0 : weights
        let checkpoint = weights + 4 * network.parameters.count + averages
        // The checkpoints kept, the best and one that is being written; the best weights and the last.
        diskBytes = (configuration.faults.keep + 2) * checkpoint + 2 * weights + averages
        let own = peakResidentBytes() + (communicator.rank == 0 ? checkpoint : 0)
        rankMemory = Int(try communicator.allReduceMax(Int64(own)))
        hostMemory = memoryOfHost()
        ranksOnHost = communicator.localSize
    }

    /// The median of three steps, after one that is not counted.
    private static func timeSteps(_ parts: RunParts, _ communicator: Communicator) throws -> Double {
        let configuration = parts.configuration
        let loader = try communicator.throwOnAllRanks {
            try BatchLoader(
                images: parts.data.train, sampler: parts.sampler, rank: communicator.rank,
                augmentation: configuration.augmentation, normalization: parts.data.normalization,
                seed: configuration.seed)
        }
        let rate = configuration.learningRate(step: 0, stepsPerEpoch: parts.sampler.stepsPerEpoch)
        let seconds = try (0..<4).map { _ in
            try communicator.barrier()
            let began = monotonicSeconds()
            _ = try parts.step(try loader.next(), rate: rate)
            try communicator.barrier()
            return monotonicSeconds() - began
        }
        return seconds.dropFirst().sorted()[1]
    }

    /// Seconds of one batch of an evaluation, from four at most; the first counts where it is the only one.
    private static func timeBatches(_ evaluator: Evaluator) throws -> Double {
        var ends = [monotonicSeconds()]
        _ = try evaluator.run(
            stopping: { ends.count > 4 }, advanced: { _, _, _ in ends.append(monotonicSeconds()) })
        let seconds = zip(ends.dropFirst(), ends).map { $0 - $1 }
        let counted = seconds.count > 1 ? seconds.dropFirst().sorted() : seconds
        return counted[counted.count / 2]
    }

    /// Seconds of an epoch with its evaluation.
    package var epochSeconds: Double { Double(stepsPerEpoch) * stepSeconds + evaluationSeconds }
    /// Seconds of the whole run.
    package var seconds: Double {
        Double(steps) * stepSeconds + Double(epochs - 1) * evaluationSeconds + lastEvaluationSeconds
    }
}
