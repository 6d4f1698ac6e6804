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
    /// The sizes of training images in turn.
    package let phases: [Phase]
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

    /// Steps whose images have one size.
    package struct Phase: Sendable {
        /// Height and width in pixels.
        package let imageSize: Int
        /// Of the whole run.
        package let steps: Int
        /// The median of the steps timed.
        package let stepSeconds: Double
    }

    /// Opens the data, builds the network and times three steps, of each size of images. Collective.
    ///
    /// - Throws: on all ranks the failure of the first rank that has one, as a run would.
    package init(_ configuration: RunConfiguration, threads: Int?, communicator: Communicator) throws {
        try communicator.throwOnAllRanks { try configuration.validate(worldSize: communicator.size) }
        let parts = try RunParts(configuration, threads: threads, communicator: communicator)
        parts.step.network.initialize(seed: configuration.seed)
        stepsPerEpoch = parts.sampler.stepsPerEpoch
        steps = min(configuration.epochs * stepsPerEpoch, configuration.steps ?? .max)
        epochs = (steps - 1) / stepsPerEpoch + 1
        phases = try Self.timePhases(parts, steps: steps, communicator)
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

    /// Times the sizes that the run comes to.
    private static func timePhases(
        _ parts: RunParts, steps: Int, _ communicator: Communicator
    ) throws -> [Phase] {
        let before = parts.configuration.imageSchedule?.phases ?? []
        var (phases, epoch, done): ([Phase], Int, Int) = ([], 1, 0)
        for epochs in before.map(\.epochs) + [parts.configuration.epochs] where done < steps {
            let end = min((epoch - 1 + epochs) * parts.sampler.stepsPerEpoch, steps)
            phases.append(
                Phase(
                    imageSize: parts.configuration.imageSize(epoch: epoch), steps: end - done,
                    stepSeconds: try timeSteps(parts, epoch: epoch, communicator)))
            (epoch, done) = (epoch + epochs, end)
        }
        return phases
    }

    /// The median of three steps, after one that is not counted.
    private static func timeSteps(_ parts: RunParts, epoch: Int, _ communicator: Communicator) throws -> Double {
        let configuration = parts.configuration
        try parts.images.begin(epoch: epoch)
        // An epoch may have fewer steps than are timed, and the next one another size.
        let loader = try parts.images.loader(
            startEpoch: epoch, startStep: 0, size: configuration.imageSize(epoch: epoch))
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

    /// Seconds of the last epoch with its evaluation, were it whole.
    package var epochSeconds: Double {
        Double(stepsPerEpoch) * phases[phases.count - 1].stepSeconds + evaluationSeconds
    }
    /// Seconds of the whole run.
    package var seconds: Double {
        phases.reduce(Double(epochs - 1) * evaluationSeconds + lastEvaluationSeconds) {
            $0 + Double($1.steps) * $1.stepSeconds
        }
    }
}
