import DataParallel
import DenseNetModel
import ImageData
import Support

/// What a run consists of on every rank but for the run folder, allocated; the weights are not set yet.
struct RunParts {
    /// With paths from the root, and what the image files hold.
    let configuration: RunConfiguration
    let data: RunData
    let sampler: Sampler
    let evaluator: Evaluator
    let step: TrainingStep
    let images: TrainingImages

    /// The most confident mistakes of an evaluation that observers see.
    private static let mistakeLimit = 40

    /// Collective.
    ///
    /// - Parameters:
    ///   - threads: of this rank; nil shares the host's cores.
    ///   - loaderThreads: of this rank; nil for the default.
    ///   - factFolder: where facts of pictures are kept from run to run; nil for nowhere.
    ///   - warn: called on rank zero with lines for the user.
    /// - Throws: on all ranks the failure of the first rank that has one.
    init(
        _ configuration: RunConfiguration, threads: Int?, loaderThreads: Int? = nil, factFolder: String? = nil,
        warn: (String) -> Void = { _ in }, communicator: Communicator
    ) throws {
        try communicator.requireSameOptions(configuration.sharedValues)
        try communicator.requireSameVectorLevel()
        var configuration = configuration.withAbsolutePaths()
        let statistics = configuration.statistics
        let localBatch = communicator.maximumLocalBatchSize(of: configuration.batchSize, unit: statistics.unit)
        let passSize = statistics.passSize(images: localBatch)
        let passes = (localBatch - 1) / passSize + 1
        let averages = configuration.averageDecay == nil ? 0 : 1
        let network = try communicator.throwOnAllRanks {
            try TrainableDenseNet(
                configuration.network, capacity: passSize, imageSize: configuration.imageSize(epoch: 1),
                threads: threads ?? communicator.defaultThreads, precision: configuration.precision,
                // Two loaders of two batches, each with a thread, and mirror images; averages; the sum of several
                // groups' gradients; the checkpoints' copies, and their thread.
                overhead: MemoryOverhead(
                    ranks: communicator.localSize,
                    batches: 2 * passes + (configuration.finalViews == .image ? 2 : 3),
                    copies: averages + (passes > 1 ? 1 : 0) + (communicator.rank == 0 ? 2 + averages : 0), threads: 3,
                    imageSizes: configuration.imageSchedule?.sizes ?? [], testImage: configuration.testImage))
        }
        network.normMomentum = configuration.normMomentum
        let fineTuning = configuration.fineTuning
        try network.freeze(fineTuning.freeze ?? [], evaluatingNorms: fineTuning.freezeNorm)
        data = try RunData(
            configuration.data, seed: configuration.seed, network: configuration.network,
            testImage: configuration.testImage,
            normalization: configuration.normalization, factFolder: factFolder, warn: warn, communicator: communicator)
        (configuration.data.files, configuration.data.skipped) = (data.files, data.skipped)
        configuration.classWeights = try configuration.classWeights?.resolved(
            for: data.train, classes: configuration.network.classes, communicator)
        self.configuration = configuration
        let (train, test, normalization) = (data.train, data.test, data.normalization)
        let loaderThreads =
            loaderThreads ?? train.defaultLoaderThreads(of: threads ?? communicator.defaultThreads)
        (sampler, evaluator) = try communicator.throwOnAllRanks {
            (
                try Sampler(
                    sampleCount: train.count, globalBatch: configuration.batchSize, worldSize: communicator.size,
                    seed: configuration.seed, shuffle: configuration.shuffle, unit: statistics.unit),
                try Evaluator(
                    network, images: test, batchSize: min(configuration.batchSize, passSize * communicator.size),
                    normalization: normalization, mistakeLimit: Self.mistakeLimit, loaderThreads: loaderThreads,
                    communicator: communicator)
            )
        }
        if configuration.bestBy == .auroc, let refusal = evaluator.scoresRefusal {
            throw communicator.markAgreed(
                Failure(.usage, "`bestBy` is auroc, but the \(refusal), too many for it; use macro-recall or another"))
        }
        step = try TrainingStep(
            network, groups: statistics.groups(of: network, images: localBatch), optimizer: configuration.optimizer,
            averageDecay: configuration.averageDecay, labelSmoothing: configuration.labelSmoothing,
            classWeights: configuration.classWeights?.values, rateFactors: configuration.rateFactors,
            seed: configuration.seed, communicator: communicator)
        images = TrainingImages(
            configuration, data: data, sampler: sampler, network: network, evaluator: evaluator,
            threads: loaderThreads, communicator: communicator)
    }
}

extension ImageSet {
    /// Threads that read images ahead for a rank that computes with `threads`: records need little work, and decoding a
    /// picture takes about a twentieth of what a large network does with it.
    package func defaultLoaderThreads(of threads: Int) -> Int { arePictures ? max(1, threads / 4) : 1 }
}
