import DataParallel
import DenseNetModel
import FoundationEssentials
import Glibc
import ImageData
import Kernels

/// A whole training run on all ranks: epochs of steps, evaluation, checkpoints, metrics.
///
/// Every rank makes the same collective calls in the same order, which follows from the configuration and the sizes of the data alone.
/// Rank zero decides the learning rate and when to stop, holds the run folder and speaks to the user.
public final class TrainingRun {
    private let configuration: RunConfiguration
    private let communicator: Communicator
    private let path: String
    private let data: RunData
    private let step: TrainingStep
    private let evaluator: Evaluator
    private let sampler: Sampler
    /// On rank zero only.
    private let folder: RunFolder?
    private let checkpoints: CheckpointFolder?
    private let metrics: MetricsLog?
    private var state: RunState
    private var stepsPerEpoch: Int { sampler.stepsPerEpoch }
    private var isRankZero: Bool { communicator.rank == 0 }

    /// Begins a new run. Collective.
    ///
    /// - Parameters:
    ///   - path: the run folder, made on rank zero once all else is in order.
    ///   - threads: of this rank; nil shares the host's cores. The result does not depend on it.
    /// - Throws: on all ranks the failure of the first rank that has one.
    public convenience init(_ configuration: RunConfiguration, path: String, threads: Int?, communicator: Communicator) throws {
        try communicator.agree { try configuration.validate(worldSize: communicator.size) }
        try self.init(configuration, path: path, threads: threads, resumedFolder: nil, communicator: communicator)
    }

    /// Goes on with the run in a folder, from its newest valid checkpoint, or from the start where it has none. Collective.
    public convenience init(resuming path: String, threads: Int?, communicator: Communicator) throws {
        let folder = try communicator.agree { communicator.rank == 0 ? try RunFolder(path: path, resuming: true) : nil }
        let bytes = try communicator.agree {
            try folder.map { Array(try JSONEncoder().encode(RunConfiguration(from: $0))) }
        }
        let text = Data(try communicator.broadcast(bytes: bytes, from: 0))
        let configuration = try communicator.agree {
            let configuration = try JSONDecoder().decode(RunConfiguration.self, from: text)
            try configuration.validate(worldSize: communicator.size)
            return configuration
        }
        try self.init(configuration, path: path, threads: threads, resumedFolder: folder, communicator: communicator)
    }

    private init(
        _ configuration: RunConfiguration, path: String, threads: Int?, resumedFolder: RunFolder?, communicator: Communicator
    ) throws {
        self.configuration = configuration
        self.communicator = communicator
        self.path = path
        let network = try communicator.agree {
            try DenseNet(
                configuration.network, capacity: communicator.largestShare(of: configuration.batchSize), training: true,
                threads: threads ?? communicator.defaultThreads)
        }
        data = try RunData(
            configuration.data, seed: configuration.seed, imageSize: configuration.network.image,
            classes: configuration.network.classes, normalization: configuration.normalization, communicator: communicator)
        let (train, test, normalization) = (data.train, data.test, data.normalization)
        (sampler, evaluator) = try communicator.agree {
            (
                try Sampler(
                    sampleCount: train.count, globalBatch: configuration.batchSize, worldSize: communicator.size,
                    seed: configuration.seed, shuffle: configuration.shuffle),
                try Evaluator(
                    network, images: test, batchSize: configuration.batchSize, normalization: normalization,
                    communicator: communicator)
            )
        }
        step = TrainingStep(
            network, optimizer: configuration.optimizer, labelSmoothing: configuration.labelSmoothing, seed: configuration.seed,
            communicator: communicator)
        let (step, stepsPerEpoch) = (step, sampler.stepsPerEpoch)
        (folder, state) = try communicator.agree {
            guard communicator.rank == 0 else { return (nil, RunState()) }
            let found = try resumedFolder.flatMap { try CheckpointFolder(path: $0.checkpoints).newestValid() }
            for warning in found?.warnings ?? [] { Console.note(warning) }
            var state = RunState()
            if let found {
                state = try step.read(found.checkpoint, stepsPerEpoch: stepsPerEpoch)
            } else {
                network.initialize(seed: configuration.seed)
                if let weights = configuration.initialWeights {
                    // Resuming opens no file that a run folder names but the images.
                    guard resumedFolder == nil else {
                        throw Failure(
                            .noInput, "\(path) has no checkpoint to go on from, and the run began with the weights \(weights); begin it "
                                + "anew with --init and another --out")
                    }
                    try WeightsFile.load(weights, into: network)
                }
            }
            guard let resumedFolder else {
                let folder = try RunFolder(path: path, resuming: false)
                try folder.writeConfiguration(configuration)
                return (folder, state)
            }
            try MetricsLog(path: resumedFolder.metrics).truncate(keepingEpochsUpTo: state.epoch - 1)
            return (resumedFolder, state)
        }
        checkpoints = folder.map { CheckpointFolder(path: $0.checkpoints) }
        metrics = folder.map { MetricsLog(path: $0.metrics) }
        var numbers = state.numbers
        try numbers.withUnsafeMutableBufferPointer { try communicator.broadcast($0, from: 0) }
        state = RunState(numbers)
        try step.broadcast(from: 0, communicator)
    }

    /// Trains to the end. Collective.
    ///
    /// - Throws: on all ranks `Failure(.stopped)` after a signal, once a checkpoint is written; other failures as they come.
    public func run() throws {
        if isRankZero { announce() }
        let loader = try communicator.agree {
            try BatchLoader(
                images: data.train, sampler: sampler, rank: communicator.rank, augmentation: Augmentation(parsing: configuration.augment),
                normalization: data.normalization, seed: configuration.seed, startEpoch: state.epoch, startStep: state.stepInEpoch)
        }
        while !isFinished {
            let waitBefore = loader.waitSeconds
            try trainEpoch(loader)
            try finishEpoch(dataWait: loader.waitSeconds - waitBefore)
        }
        loader.stop()
        try communicator.agree {
            guard let folder else { return }
            try WeightsFile.write(step.network, to: folder.weights, metadata: try normalizationMetadata(data.normalization))
            Console.say("weights: \(folder.weights)")
        }
    }

    /// Whether all epochs, or all steps that the configuration allows, are done and evaluated.
    private var isFinished: Bool {
        state.epoch > configuration.epochs || state.stepInEpoch == 0 && state.step(stepsPerEpoch) >= configuration.steps ?? .max
    }

    /// The steps that the epoch in progress still has. Collective.
    private func trainEpoch(_ loader: BatchLoader) throws {
        var progress = isRankZero ? ProgressLine(phase: "Training", total: stepsPerEpoch) : nil
        while state.stepInEpoch < stepsPerEpoch, state.step(stepsPerEpoch) < configuration.steps ?? .max {
            let began = monotonicSeconds()
            let rate = try learningRate()
            let batch = try loader.next()
            let result = try step(batch, rate: rate)
            let stopWasAsked = try add(result, of: batch)
            state.seconds += monotonicSeconds() - began
            if stopWasAsked {
                progress?.finish()
                try writeCheckpoint()
                try stop()
            }
            progress?.update(done: state.stepInEpoch, loss: state.lossSum / state.images, accuracy: state.correct / state.images)
        }
        progress?.finish()
    }

    /// Rank zero's learning rate for the next step. Collective.
    private func learningRate() throws -> Double {
        try communicator.broadcast(
            configuration.schedule.rate(
                step: state.step(stepsPerEpoch), stepsPerEpoch: stepsPerEpoch, epochs: configuration.epochs), from: 0)
    }

    /// Adds a step's loss and hits, of all ranks, to the epoch's. Collective.
    ///
    /// - Returns: whether any rank has been asked to stop.
    private func add(_ result: BatchResult, of batch: Batch) throws -> Bool {
        var sums = (result.lossSum, Double(result.correct), StopSignal.isRaised ? 1.0 : 0.0)
        try withUnsafeMutableBytes(of: &sums) { try communicator.allReduceSum($0.assumingMemoryBound(to: Double.self)) }
        guard sums.0.isFinite else {
            throw communicator.agreed(Failure(
                .data, "the loss is not finite at epoch \(state.epoch), step \(state.stepInEpoch + 1); lower --learning-rate or add "
                    + "--warm-up, and go on from the last checkpoint"))
        }
        state.lossSum += sums.0
        state.correct += sums.1
        state.images += Double(batch.globalCount)
        state.stepInEpoch += 1
        return sums.2 > 0
    }

    /// Ends all ranks, which have agreed to stop and have written a checkpoint.
    private func stop() throws {
        throw communicator.agreed(Failure(
            .stopped, "stopped on request after step \(state.step(stepsPerEpoch)); go on with: train --resume \(path)"))
    }

    /// Holds the ranks' weights against each other, evaluates, reports and writes a checkpoint. Collective.
    private func finishEpoch(dataWait: Double) throws {
        let differing = try communicator.ranksDiffering(from: step.hash)
        guard differing.isEmpty else {
            throw communicator.agreed(Failure(
                .internal, "after epoch \(state.epoch) the weights of rank\(differing.count > 1 ? "s" : "") "
                    + "\(differing.map(String.init).joined(separator: ", ")) differ from rank 0's; do all nodes run the same program "
                    + "on the same kind of CPU? (DENSENET_SIMD=v3 makes kinds agree)"))
        }
        var progress = isRankZero
            ? ProgressLine(phase: "Test", total: (data.test.count - 1) / configuration.batchSize + 1) : nil
        let test = try evaluator.run(progress: &progress)
        var largest = (dataWait, StopSignal.isRaised ? 1.0 : 0.0)
        try withUnsafeMutableBytes(of: &largest) { try communicator.allReduceMax($0.assumingMemoryBound(to: Double.self)) }
        let epoch = EpochMetrics(
            epoch: state.epoch, trainLoss: state.lossSum / state.images, trainAccuracy: state.correct / state.images,
            testLoss: test.loss, testAccuracy: test.accuracy, imagesPerSecond: state.images / state.seconds,
            learningRate: configuration.schedule.rate(
                step: state.step(stepsPerEpoch) - 1, stepsPerEpoch: stepsPerEpoch, epochs: configuration.epochs),
            dataWaitSeconds: largest.0, epochSeconds: state.seconds)
        if isRankZero { report(epoch) }
        // Also where `steps` ends the run within an epoch: an epoch in progress is one that is not evaluated yet.
        state.beginEpoch()
        try communicator.agree { try metrics?.append(epoch) }
        try writeCheckpoint()
        if largest.1 > 0 && !isFinished { try stop() }
    }

    /// Collective.
    private func writeCheckpoint() throws {
        try communicator.agree {
            // A finished epoch's number, or that of the last finished one: so names sort in the order of training.
            let position = CheckpointPosition(
                epoch: state.epoch - 1, step: min(state.step(stepsPerEpoch), configuration.steps ?? .max))
            if let checkpoints { try step.write(state, at: position, to: checkpoints) }
        }
    }

    // MARK: - What the user sees

    private func announce() {
        for warning in data.warnings { Console.note(warning) }
        let network = configuration.network
        Console.say(
            "\(configuration.model): \(step.network.table.learntCount) parameters, \(network.image)×\(network.image) images, "
                + "\(network.classes) classes")
        Console.say(
            "\(communicator.size) rank\(communicator.size == 1 ? "" : "s"), \(data.train.count) training and \(data.test.count) test images"
                + " (\(configuration.data.path ?? "synthetic")), \(configuration.batchSize) a step, \(stepsPerEpoch) steps an epoch, "
                + "\(configuration.epochs) epoch\(configuration.epochs == 1 ? "" : "s")")
        Console.say("run folder: \(path)")
        if state != RunState() { Console.say("resuming at epoch \(state.epoch), step \(state.stepInEpoch + 1)") }
    }

    private func report(_ epoch: EpochMetrics) {
        func number(_ value: Double) -> String { value.formatted(places: 4) }
        let name = String(repeating: "0", count: max(0, 3 - String(epoch.epoch).count)) + String(epoch.epoch)
        Console.say("epoch \(name), Training loss: \(number(epoch.trainLoss)), Training accuracy: \(number(epoch.trainAccuracy))")
        Console.say(
            "Test loss: \(number(epoch.testLoss)), Test accuracy: \(number(epoch.testAccuracy))  "
                + "(\(epoch.imagesPerSecond.formatted(places: 1)) images/s, waited \(epoch.dataWaitSeconds.formatted(places: 2)) s for data)")
    }
}
