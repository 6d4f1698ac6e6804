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
    private let safety: SafetyOptions
    private let communicator: Communicator
    private let path: String
    private let data: RunData
    private let step: TrainingStep
    private let evaluator: Evaluator
    private let sampler: Sampler
    /// On rank zero only.
    private let folder: RunFolder?
    private let checkpoints: CheckpointWriter?
    private let metrics: MetricsLog?
    /// Where `checkpoints` stood when an epoch was reported last.
    private var reportedCheckpointWait = 0.0
    /// Steps of this start that were left out for numbers that are not finite.
    private var skippedSteps = 0
    private var state: RunState
    private var stepsPerEpoch: Int { sampler.stepsPerEpoch }
    private var isRankZero: Bool { communicator.rank == 0 }

    /// Begins a new run. Collective.
    ///
    /// - Parameters:
    ///   - path: the run folder, made on rank zero once all else is in order.
    ///   - threads: of this rank; nil shares the host's cores. The result does not depend on it.
    ///   - watchdog: keeps its records in the run folder.
    /// - Throws: on all ranks the failure of the first rank that has one.
    public convenience init(
        _ configuration: RunConfiguration, path: String, threads: Int?, watchdog: Watchdog, communicator: Communicator
    ) throws {
        try communicator.agree { try configuration.validate(worldSize: communicator.size) }
        try self.init(
            configuration, path: path, threads: threads, watchdog: watchdog, resumedFolder: nil, communicator: communicator)
    }

    /// Goes on with the run in a folder, from its newest valid checkpoint, or from the start where it has none. Collective.
    ///
    /// - Parameter safety: what it has goes before the run's own.
    public convenience init(
        resuming path: String, safety: SafetyOptions, threads: Int?, watchdog: Watchdog, communicator: Communicator
    ) throws {
        let folder = try communicator.agree { communicator.rank == 0 ? try RunFolder(path: path, resuming: true) : nil }
        let bytes = try communicator.agree {
            try folder.map { Array(try JSONEncoder().encode(RunConfiguration(from: $0))) }
        }
        let text = Data(try communicator.broadcast(bytes: bytes, from: 0))
        let configuration = try communicator.agree {
            var configuration = try JSONDecoder().decode(RunConfiguration.self, from: text)
            configuration.safety = safety.over(configuration.safety)
            try configuration.validate(worldSize: communicator.size)
            return configuration
        }
        try self.init(
            configuration, path: path, threads: threads, watchdog: watchdog, resumedFolder: folder, communicator: communicator)
    }

    private init(
        _ configuration: RunConfiguration, path: String, threads: Int?, watchdog: Watchdog, resumedFolder: RunFolder?,
        communicator: Communicator
    ) throws {
        self.configuration = configuration
        safety = configuration.safety ?? SafetyOptions(keep: nil, checkpointSteps: nil, onCheckpointError: nil, onNonfinite: nil)
        self.communicator = communicator
        self.path = path
        try communicator.demandSameVectorLevel()
        let network = try communicator.agree {
            try DenseNet(
                configuration.network, capacity: communicator.largestShare(of: configuration.batchSize), training: true,
                threads: threads ?? communicator.defaultThreads, precision: configuration.precision ?? .float32)
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
        var newest: CheckpointPosition?
        communicator.stages.enter("opening the run folder")
        (folder, state) = try communicator.agree {
            guard communicator.rank == 0 else { return (nil, RunState()) }
            let found = try resumedFolder.flatMap { try CheckpointFolder(path: $0.checkpoints).newestValid() }
            for warning in found?.warnings ?? [] { Console.note(warning) }
            var state = RunState()
            if let found {
                state = try step.read(found.checkpoint, stepsPerEpoch: stepsPerEpoch)
                newest = found.checkpoint.position
            } else {
                network.initialize(seed: configuration.seed)
                if let weights = configuration.initialWeights {
                    // Resuming opens no file that a run folder names but the images.
                    guard resumedFolder == nil else {
                        throw Failure(
                            .noInput,
                            "\(path) has no checkpoint to go on from, and the run began with the weights \(weights); begin it anew "
                                + "with --init and another --out")
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
        let (folder, state, keep) = (folder, state, safety.keep ?? SafetyOptions.defaultKeep)
        checkpoints = try communicator.agree {
            try folder.map {
                try CheckpointWriter(
                    of: step, folder: CheckpointFolder(path: $0.checkpoints, keep: keep), newest: newest, bestWeights: $0.best,
                    best: BestEpoch(path: $0.best, last: state.epoch - 1), metadata: normalizationMetadata(normalization))
            }
        }
        metrics = folder.map { MetricsLog(path: $0.metrics) }
        watchdog.keepRecords(in: RunFolder.ranks(of: path), advice: "go on with: train --resume \(path)")
        communicator.stages.enter("first weights")
        var numbers = state.numbers
        try numbers.withUnsafeMutableBufferPointer { try communicator.broadcast($0, from: 0) }
        self.state = RunState(numbers)
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
        try finishCheckpoint()
        communicator.stages.enter("writing the weights", mayTakeLong: true)
        try communicator.agree {
            guard let folder else { return }
            reportCheckpoints()
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
            communicator.stages.beginStep(state.step(stepsPerEpoch) + 1)
            let rate = try learningRate()
            communicator.stages.enter("waiting for data")
            let batch = try loader.next()
            let result = try step(batch, rate: rate)
            let stopWasAsked = try add(result, of: batch)
            state.seconds += monotonicSeconds() - began
            if stopWasAsked {
                progress?.finish()
                try writeCheckpoint()
                try stop()
            }
            if isCheckpointDue { try writeCheckpoint() }
            progress?.update(done: state.stepInEpoch, loss: state.lossSum / state.images, accuracy: state.correct / state.images)
        }
        progress?.finish()
    }

    /// Whether this step within an epoch is one of those after which `--checkpoint-steps` asks for a checkpoint.
    private var isCheckpointDue: Bool {
        guard let every = safety.checkpointSteps, state.stepInEpoch < stepsPerEpoch else { return false }
        return state.step(stepsPerEpoch) % every == 0
    }

    /// Rank zero's learning rate for the next step. Collective.
    private func learningRate() throws -> Double {
        communicator.stages.enter("learning rate")
        return try communicator.broadcast(
            configuration.schedule.rate(
                step: state.step(stepsPerEpoch), stepsPerEpoch: stepsPerEpoch, epochs: configuration.epochs), from: 0)
    }

    /// Adds a step's loss and hits, of all ranks, to the epoch's. Collective.
    ///
    /// - Returns: whether any rank has been asked to stop.
    private func add(_ result: BatchResult, of batch: Batch) throws -> Bool {
        var sums = (
            result.lossSum, Double(result.correct), StopSignal.isRaised ? 1.0 : 0.0, checkpoints?.hasFailed == true ? 1.0 : 0.0
        )
        communicator.stages.enter("loss")
        try withUnsafeMutableBytes(of: &sums) { try communicator.allReduceSum($0.assumingMemoryBound(to: Double.self)) }
        if sums.3 > 0 { try finishCheckpoint() }
        if step.isFinite {
            state.lossSum += sums.0
            state.correct += sums.1
            state.images += Double(batch.globalCount)
        } else {
            try skipOrStop()
        }
        state.stepInEpoch += 1
        return sums.2 > 0
    }

    /// Counts a skipped step, whose numbers were not finite, or ends all ranks. Collective.
    private func skipOrStop() throws {
        let report = try NonfiniteReport(step.network, communicator)
        guard safety.onNonfinite == .skip, !report.isStored else { return try stop(for: report) }
        skippedSteps += 1
        if isRankZero { Console.note("\(place(of: report)); the step is skipped, \(skippedSteps) so far") }
    }

    private func place(of report: NonfiniteReport) -> String {
        "epoch \(state.epoch), step \(state.stepInEpoch + 1): \(report.text)"
    }

    /// Ends all ranks, for numbers that are not finite. Collective.
    private func stop(for report: NonfiniteReport) throws {
        try finishCheckpoint()
        try communicator.agree {
            guard isRankZero else { return }
            let newest = checkpoints?.newest.map { "\(path)/checkpoints/\($0.fileName)" }
            let advice = report.isStored ? newest.map { "the newest checkpoint is \($0);" } ?? "there is no checkpoint yet;"
                : "no weight was moved; to go on from \(newest ?? "the start") without such steps: train --resume \(path) "
                    + "--on-nonfinite skip; or"
            throw Failure(.data, "\(place(of: report)); \(advice) start anew with a lower --learning-rate or --warm-up")
        }
    }

    /// Ends all ranks, which have agreed to stop and have begun to write a checkpoint. Collective.
    private func stop() throws {
        try finishCheckpoint()
        throw communicator.agreed(Failure(
            .stopped, "stopped on request after step \(state.step(stepsPerEpoch)); go on with: train --resume \(path)"))
    }

    /// Holds the ranks' weights against each other, evaluates, reports and writes a checkpoint. Collective.
    private func finishEpoch(dataWait: Double) throws {
        communicator.stages.enter("weights hash")
        let differing = try communicator.ranksDiffering(from: step.hash)
        guard differing.isEmpty else {
            throw communicator.agreed(Failure(
                .internal, "after epoch \(state.epoch) the weights of rank\(differing.count > 1 ? "s" : "") "
                    + "\(differing.map(String.init).joined(separator: ", ")) differ from rank 0's; do all nodes run the same program "
                    + "on the same kind of CPU?"))
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
            dataWaitSeconds: largest.0, checkpointWaitSeconds: (checkpoints?.waitSeconds ?? 0) - reportedCheckpointWait,
            epochSeconds: state.seconds)
        reportedCheckpointWait = checkpoints?.waitSeconds ?? 0
        if isRankZero { report(epoch) }
        // Also where `steps` ends the run within an epoch: an epoch in progress is one that is not evaluated yet.
        state.beginEpoch()
        try writing { try metrics?.append(epoch) }
        try writeCheckpoint(testAccuracy: test.accuracy)
        if largest.1 > 0 && !isFinished { try stop() }
    }

    /// Begins to write a checkpoint, once the one before is written. Collective.
    ///
    /// - Parameter testAccuracy: of a finished epoch.
    private func writeCheckpoint(testAccuracy: Double? = nil) throws {
        try finishCheckpoint()
        guard step.network.parameters.areFinite, step.network.statistics.areFinite else {
            return try stop(for: NonfiniteReport(step.network, communicator))
        }
        // A finished epoch's number, or that of the last finished one: so names sort in the order of training.
        let position = CheckpointPosition(
            epoch: state.epoch - 1, step: min(state.step(stepsPerEpoch), configuration.steps ?? .max))
        checkpoints?.begin(state, at: position, testAccuracy: testAccuracy)
    }

    /// Waits until the checkpoint under way is on the disk. Collective.
    private func finishCheckpoint() throws {
        try writing { try checkpoints?.finish() }
    }

    /// Writes what a run could go on without, on rank zero; a failure ends all ranks or is a warning. Collective.
    private func writing(_ body: () throws -> Void) throws {
        communicator.stages.enter("checkpoint", mayTakeLong: true)
        try communicator.agree {
            do { try body() } catch let failure as Failure where safety.onCheckpointError == .continue {
                Console.note("\(failure); training goes on without")
            }
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
                + "(\(epoch.imagesPerSecond.formatted(places: 1)) images/s, waited "
                + "\(epoch.dataWaitSeconds.formatted(places: 2)) s for data, "
                + "\(epoch.checkpointWaitSeconds.formatted(places: 2)) s for checkpoints)")
    }

    private func reportCheckpoints() {
        guard let checkpoints else { return }
        Console.say(
            "checkpoints: \(checkpoints.written) written, training waited "
                + "\(checkpoints.waitSeconds.formatted(places: 2)) s for them"
                + (checkpoints.best.map { "; best.safetensors is of epoch \($0.position.epoch)" } ?? ""))
    }
}
