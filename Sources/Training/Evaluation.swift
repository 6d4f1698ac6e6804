import DataParallel
import DenseNetModel
import ImageData

/// Loss and accuracy of a network on a set of images; the same on all ranks.
public struct Evaluation: Sendable {
    /// Mean cross-entropy.
    public let loss: Double
    /// Images of each class that were recognised.
    public let correct: [Int]
    /// Images of each class.
    public let total: [Int]

    /// The share of all images that were recognised.
    public var accuracy: Double { Double(correct.reduce(0, +)) / Double(total.reduce(0, +)) }
}

/// Evaluates a network on every image of a set once, each rank on its part of each batch.
public final class Evaluator {
    private let network: DenseNet
    private let sampler: Sampler
    private let loader: BatchLoader
    private let communicator: Communicator
    /// Hits of each class, then images of each class, then the loss: what is summed over ranks.
    private var tally: [Double]

    /// Batches of an evaluation.
    public var steps: Int { sampler.stepsPerEpoch }

    /// - Parameters:
    ///   - network: one of the images' size, with the same weights on all ranks.
    ///   - images: the same set on all ranks.
    ///   - batchSize: images per batch over all ranks; this rank's part has to fit the network's `capacity`.
    ///   - normalization: as the network was trained with.
    ///   - communicator: the ranks that share each batch.
    /// - Throws: `Failure(.unavailable)` when the loader cannot start.
    public init(
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
    /// - Parameters:
    ///   - wantsStop: whether this rank wants the evaluation to end early; asked before each batch.
    ///   - advanced: called after each batch with this rank's batches done, and mean loss and accuracy so far.
    /// - Returns: nil on all ranks once any rank has asked to stop.
    public func run(
        stopping wantsStop: () -> Bool = { false },
        advanced: (_ done: Int, _ loss: Double, _ accuracy: Double) -> Void = { _, _, _ in }
    ) throws -> Evaluation? {
        let classes = network.configuration.classes
        for index in tally.indices { tally[index] = 0 }
        for step in 0..<steps {
            communicator.progress.enter("evaluation batch", step + 1, of: steps)
            // Evaluating needs no sums; a meeting before each batch bounds how far ranks drift apart.
            guard try communicator.allReduceMax(wantsStop() ? Int32(1) : 0) == 0 else { return nil }
            try add(try loader.next())
            let done = max(tally[classes..<2 * classes].reduce(0, +), 1)
            advanced(step + 1, tally[2 * classes] / done, tally[..<classes].reduce(0, +) / done)
        }
        communicator.progress.enter("evaluation's sums")
        tally = try communicator.allReduceSum(tally)
        return Evaluation(
            loss: tally[2 * classes] / tally[classes..<2 * classes].reduce(0, +),
            correct: tally[..<classes].map { Int($0) }, total: tally[classes..<2 * classes].map { Int($0) })
    }

    private func add(_ batch: Batch) throws {
        let classes = network.configuration.classes
        let predictions = try network.evaluate(batch.images, count: batch.count)
        tally[2 * classes] += predictions.loss(batch.labels).lossSum
        for image in 0..<batch.count {
            let label = Int(batch.labels[image])
            if predictions[image] == label { tally[label] += 1 }
            tally[classes + label] += 1
        }
    }
}
