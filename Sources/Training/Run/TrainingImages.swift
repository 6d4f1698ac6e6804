import DataParallel
import DenseNetModel
import ImageData
import Support

/// The training images of a run, by epochs of different sizes, and the memory of the network that takes them.
///
/// In epochs of another size a network for inference, of the same weights and running statistics, is evaluated; in the
/// others the network that is trained is.
final class TrainingImages {
    private let configuration: RunConfiguration
    private let data: RunData
    private let sampler: Sampler
    private let network: TrainableDenseNet
    private let evaluator: Evaluator
    private let communicator: Communicator
    private let threads: Int
    /// What rank zero has told of pictures that are missing, so that it says it once and not in every epoch.
    private var told: Set<String> = []

    /// Allocates nothing.
    ///
    /// - Parameter threads: of this rank's loader.
    init(
        _ configuration: RunConfiguration, data: RunData, sampler: Sampler, network: TrainableDenseNet,
        evaluator: Evaluator, threads: Int, communicator: Communicator
    ) {
        (self.configuration, self.data, self.sampler) = (configuration, data, sampler)
        self.threads = threads
        (self.network, self.evaluator, self.communicator) = (network, evaluator, communicator)
    }

    /// This rank's batches from a step on, of the sizes that `begin` makes memory for, or of one size. Collective.
    func loader(startEpoch: Int, startStep: Int, size: Int? = nil) throws -> BatchLoader {
        try communicator.throwOnAllRanks {
            try BatchLoader(
                images: data.train, sampler: sampler, rank: communicator.rank,
                augmentation: configuration.augmentation, normalization: data.normalization,
                imageSizes: size.map { ImageSchedule(phases: [], lastSize: $0) } ?? configuration.imageSchedule,
                seed: configuration.seed, startEpoch: startEpoch, startStep: startStep, threads: threads)
        }
    }

    /// This rank's next batch. Where pictures that go bad are skipped, its `globalCount` is what is left of it on all
    /// ranks. Collective.
    ///
    /// - Parameter warn: called on rank zero, once for each picture.
    /// - Throws: on this rank alone what `BatchLoader.next` throws.
    func next(_ loader: BatchLoader, warn: (String) -> Void) throws -> Batch {
        var batch = try loader.next()
        guard data.train.skipsBadPictures else { return batch }
        let sums = try communicator.allReduceSum([Int64(batch.count), Int64(loader.lost.count)])
        batch.globalCount = Int(sums[0])
        guard sums[1] > 0 else { return batch }
        let words = try communicator.allGather(bytes: Array(loader.lost.map(\.message).joined(separator: "\n").utf8))
        tell(words.flatMap { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) }, warn)
        return batch
    }

    /// Tells of pictures that were left out, on rank zero, once for each.
    func tell(_ lines: [String], _ warn: (String) -> Void) {
        guard communicator.rank == 0 else { return }
        for line in lines where told.insert(line).inserted { warn("\(line); left out") }
    }

    /// Makes memory for the images of an epoch, counted from 1, unless it is there. Collective.
    ///
    /// What is not needed any more is released first, so that there is never more memory than an epoch needs.
    func begin(epoch: Int) throws {
        let size = configuration.imageSize(epoch: epoch)
        let testSize = configuration.testImage ?? configuration.network.image
        let evaluatesTrained = evaluator.network === network
        guard size != network.imageSize || (size == testSize) != evaluatesTrained else { return }
        communicator.progress.enter("memory for the images of an epoch", mayTakeLong: true)
        try communicator.throwOnAllRanks {
            if size == testSize { evaluator.network = network }
            try network.setImageSize(size)
            if size != testSize, evaluatesTrained {
                evaluator.network = try DenseNet(sharingWeightsOf: network, imageSize: testSize)
            }
        }
    }
}

extension RunConfiguration {
    /// Height and width in pixels of the training images of an epoch, counted from 1.
    package func imageSize(epoch: Int) -> Int { imageSchedule?.size(epoch: epoch) ?? network.image }

    /// The epochs of each size before the last, with the work of a step, its convolutions, over that of one with images
    /// of the network's size.
    package var phases: [(epochs: Int, work: Double)] {
        guard let imageSchedule else { return [] }
        func work(_ size: Int) -> Double {
            ParameterTable(network.withImages(of: size)).convolutions.reduce(0) {
                $0 + Double($1.weight.count) * Double($1.computedSize * $1.computedSize)
            }
        }
        return imageSchedule.phases.map { ($0.epochs, work($0.size) / work(network.image)) }
    }

    /// - Throws: `Failure(.usage)` for sizes that the network cannot have or does not end with, and for more epochs than
    ///   the run has.
    func validateImageSchedule() throws {
        guard let imageSchedule else { return }
        for size in imageSchedule.sizes { try network.withImages(of: size).validate() }
        guard imageSchedule.lastSize == network.image else {
            throw Failure(
                .usage,
                "`imageSchedule` \(imageSchedule) ends with \(imageSchedule.lastSize) pixels, expected those of the "
                    + "network, \(network.image) (`image`)")
        }
        guard imageSchedule.epochs < epochs else {
            throw Failure(
                .usage,
                "`imageSchedule` \(imageSchedule) has \(imageSchedule.epochs) epochs before its last size, expected less "
                    + "than `epochs`, which is \(epochs)")
        }
    }
}
