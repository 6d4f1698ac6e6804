import DataParallel
import DenseNetModel
import ImageData

/// What a network makes of a set of images; the same on all ranks.
package struct Evaluation: Sendable {
    /// Mean cross-entropy.
    package let loss: Double
    /// Images of each class that were recognised, and images of each class.
    package let correct: [Int]
    package let total: [Int]

    /// The share of all images that were recognised.
    package var accuracy: Double { Double(correct.reduce(0, +)) / Double(total.reduce(0, +)) }
}

/// An evaluation was broken off, on all ranks, since a signal has asked one of them to stop.
struct EvaluationStopped: Error {}

/// Evaluates a network on every image of a set once, each rank on its part of each batch.
package final class Evaluator {
    private let network: DenseNet
    private let sampler: Sampler
    private let loader: BatchLoader
    private let communicator: Communicator
    /// Hits of each class, then images of each class, then the loss: what is summed over ranks.
    private var tally: [Double]

    /// Batches of an evaluation.
    package var steps: Int { sampler.stepsPerEpoch }

    /// - Throws: `Failure(.unavailable)` when the loader cannot start.
    package init(
        _ network: DenseNet, images: ImageSet, batchSize: Int, normalization: Normalization, communicator: Communicator
    ) throws {
        self.network = network
        self.communicator = communicator
        sampler = try Sampler(
            sampleCount: images.count, globalBatch: batchSize, worldSize: communicator.size, seed: 0, shuffle: false)
        loader = try BatchLoader(
            images: images, sampler: sampler, rank: communicator.rank, augmentation: .none,
            normalization: normalization, seed: 0)
        tally = [Double](repeating: 0, count: 2 * network.configuration.classes + 1)
    }

    /// Goes through all images. Collective.
    ///
    /// - Throws: `EvaluationStopped` on all ranks, between two batches, once a signal has asked any rank to stop.
    package func run(progress: inout ProgressLine?) throws -> Evaluation {
        let classes = network.configuration.classes
        for index in tally.indices { tally[index] = 0 }
        for step in 0..<steps {
            communicator.progress.enter("evaluation batch", step + 1, of: steps)
            // Evaluating needs no sums; where ranks did not meet, slow ones would fall behind by hours of a large set.
            guard try communicator.allReduceMax(StopSignal.isRaised ? Int32(1) : 0) == 0 else {
                progress?.finish()
                throw EvaluationStopped()
            }
            let batch = try loader.next()
            let predictions = try network.evaluate(batch.images, count: batch.count)
            tally[2 * classes] += predictions.loss(batch.labels).lossSum
            for image in 0..<batch.count {
                let label = Int(batch.labels[image])
                if predictions[image] == label { tally[label] += 1 }
                tally[classes + label] += 1
            }
            let done = tally[classes..<2 * classes].reduce(0, +)
            progress?.update(
                done: step + 1, loss: tally[2 * classes] / max(done, 1),
                accuracy: tally[..<classes].reduce(0, +) / max(done, 1))
        }
        progress?.finish()
        communicator.progress.enter("evaluation's sums")
        tally = try communicator.allReduceSum(tally)
        return Evaluation(
            loss: tally[2 * classes] / tally[classes..<2 * classes].reduce(0, +),
            correct: tally[..<classes].map { Int($0) }, total: tally[classes..<2 * classes].map { Int($0) })
    }
}
