import DataParallel
import DenseNetModel
import FoundationEssentials
import Glibc
import ImageData
import Support

/// A whole training run on all ranks: epochs of steps, evaluation, checkpoints, metrics.
///
/// Every rank makes the same collective calls in the same order, which follows from the configuration and the sizes of
/// the data alone. Rank zero decides the learning rate and when to stop, and holds the run folder.
public final class TrainingRun {
    /// What was asked for, with absolute paths and the content of the image files.
    public let configuration: RunConfiguration
    /// The run folder.
    public let path: String
    /// The ranks.
    public let communicator: Communicator
    /// Where the run takes place.
    public let machine: RunMachine
    package let data: RunData
    package let step: TrainingStep
    private let observer: any RunObserver
    package let evaluator: Evaluator
    private let images: TrainingImages
    package let earlyStop: EarlyStop
    let sampler: Sampler
    /// On rank zero only.
    private let folder: RunFolder?
    private let checkpoints: CheckpointWriter?
    /// Where `checkpoints` stood when an epoch was reported last.
    private var reportedCheckpointWait = 0.0
    /// Of the last epoch that this start has evaluated.
    private var lastResult: EpochMetrics?
    /// Steps of this start that were left out for numbers that are not finite.
    private var skippedSteps = 0
    private(set) var state: RunState
    private var isRankZero: Bool { communicator.rank == 0 }

    /// Begins a new run. Collective.
    ///
    /// - Parameters:
    ///   - configuration: the same on all ranks, but for the path of the data.
    ///   - path: the run folder, made on rank zero once all else is in order; nil for a new one below `runs`.
    ///   - threads: of this rank; nil shares the host's cores. The result does not depend on it.
    ///   - loaderThreads: of this rank, which read images ahead; nil for as many as `threads` suggest. Likewise.
    ///   - stepMetrics: metrics.jsonl has a line of every so many steps too.
    ///   - watchdog: writes heartbeats to the run folder.
    ///   - observer: hears the run's reports, on rank zero, and may ask it to stop, on any.
    ///   - communicator: the ranks that train.
    /// - Throws: on all ranks the failure of the first rank that has one.
    public convenience init(
        _ configuration: RunConfiguration, path: String?, threads: Int? = nil, loaderThreads: Int? = nil,
        stepMetrics: Int? = nil, watchdog: Watchdog? = nil, observer: any RunObserver, communicator: Communicator
    ) throws {
        try communicator.throwOnAllRanks { try configuration.validate(worldSize: communicator.size) }
        try self.init(
            configuration, path: path, threads: (threads, loaderThreads), stepMetrics: stepMetrics, watchdog: watchdog,
            observer: observer, resumed: nil, communicator: communicator)
    }

    /// Resumes the run in a folder from its newest valid checkpoint, or from the start where no step was ever kept.
    /// Collective.
    ///
    /// - Parameters:
    ///   - path: the run folder.
    ///   - threads: of this rank; nil shares the host's cores. The result does not depend on it.
    ///   - loaderThreads: of this rank, which read images ahead; nil for as many as `threads` suggest. Likewise.
    ///   - stepMetrics: metrics.jsonl has a line of every so many steps too.
    ///   - watchdog: writes heartbeats to the run folder.
    ///   - observer: hears the run's reports, on rank zero, and may ask it to stop, on any.
    ///   - communicator: the ranks that train.
    ///   - changes: what is to be different from here on. The number of epochs changes for good, with the learning
    ///     rates of a run of that length; the policy on faults for this start. Nothing else may change.
    /// - Throws: on all ranks `Failure(.usage)` for other changes, naming the parameter and both values.
    public convenience init(
        resuming path: String, threads: Int? = nil, loaderThreads: Int? = nil, stepMetrics: Int? = nil,
        watchdog: Watchdog? = nil, observer: any RunObserver, communicator: Communicator,
        changes: (inout RunConfiguration) throws -> Void = { _ in }
    ) throws {
        let folder = try communicator.throwOnAllRanks {
            communicator.rank == 0 ? try RunFolder(path: path, resuming: true) : nil
        }
        let bytes = try communicator.throwOnAllRanks {
            try folder.map { Array(try JSONEncoder().encode(RunConfiguration(from: $0))) }
        }
        let text = Data(try communicator.broadcast(bytes: bytes, from: 0))
        let (configuration, before) = try communicator.throwOnAllRanks {
            let before = try JSONDecoder().decode(RunConfiguration.self, from: text)
            var configuration = before
            try changes(&configuration)
            try configuration.validateResuming(before, in: path)
            try configuration.validate(worldSize: communicator.size)
            return (configuration, before)
        }
        try self.init(
            configuration, path: path, threads: (threads, loaderThreads), stepMetrics: stepMetrics, watchdog: watchdog,
            observer: observer, resumed: folder.map { ($0, before) }, communicator: communicator)
    }

    /// - Parameter resumed: the run's folder, on rank zero, and its configuration as it was.
    private init(
        _ configuration: RunConfiguration, path: String?, threads: (own: Int?, loader: Int?), stepMetrics: Int?,
        watchdog: Watchdog?, observer: any RunObserver, resumed: (folder: RunFolder, before: RunConfiguration)?,
        communicator: Communicator
    ) throws {
        self.communicator = communicator
        self.observer = observer
        try communicator.throwOnAllRanks {
            guard stepMetrics ?? 1 >= 1 else {
                throw Failure(.usage, "`stepMetrics` is \(stepMetrics ?? 1), expected 1 or more steps")
            }
        }
        let parts = try RunParts(
            configuration, threads: threads.own, loaderThreads: threads.loader, factFolder: RunFolder.parent(of: path),
            warn: observer.warn, communicator: communicator)
        (self.configuration, data, sampler) = (parts.configuration, parts.data, parts.sampler)
        (evaluator, step, images) = (parts.evaluator, parts.step, parts.images)
        machine = try RunMachine(threads: threads.own ?? communicator.defaultThreads, communicator: communicator)
        let configuration = parts.configuration
        earlyStop = EarlyStop(configuration, communicator)
        let (data, step, stepsPerEpoch) = (data, step, sampler.stepsPerEpoch)
        communicator.progress.enter("opening the run folder")
        let (start, checkpoints) = try communicator.throwOnAllRanks { () -> (RunStart?, CheckpointWriter?) in
            guard communicator.rank == 0 else { return (nil, nil) }
            let start =
                try resumed.map {
                    try RunStart(
                        resuming: $0.folder, configuration, before: $0.before, step: step, stepsPerEpoch: stepsPerEpoch,
                        warn: observer.warn)
                } ?? RunStart(newAt: path, configuration, step: step, warn: observer.warn)
            let writer = try start.checkpointWriter(
                of: step, configuration, data: data, stepMetrics: stepMetrics, warn: observer.warn)
            return (start, writer)
        }
        self.checkpoints = checkpoints
        folder = start?.folder
        let path = String(
            decoding: try communicator.broadcast(bytes: start.map { Array($0.folder.path.utf8) }, from: 0),
            as: UTF8.self)
        self.path = path
        watchdog?.writeHeartbeats(to: RunFolder.ranks(of: path), advice: Self.resumeAdvice(path))
        communicator.progress.enter("first weights")
        state = RunState(try communicator.broadcast((start?.state ?? RunState()).numbers, from: 0))
        try step.broadcast(from: 0, communicator)
        try earlyStop.begin(after: start?.epochs ?? [])
    }

    /// Trains to the end. Collective.
    ///
    /// - Throws: on all ranks `Failure(.stopped)` after a signal, once a checkpoint is written; other failures as
    ///   they come.
    public func run() throws {
        if isRankZero { observer.runBegins(self) }
        let loader = try images.loader(startEpoch: state.epoch, startStep: state.stepInEpoch)
        while !isFinished {
            let waitBefore = loader.waitSeconds
            try images.begin(epoch: state.epoch)
            try trainEpoch(loader)
            try finishEpoch(dataWait: loader.waitSeconds - waitBefore)
        }
        try finishCheckpoint()
        communicator.progress.enter("writing the weights", mayTakeLong: true)
        try communicator.throwOnAllRanks {
            guard let folder else { return }
            try folder.writeResult(of: step, configuration, data: data, after: lastResult)
            observer.runEnded(self)
        }
    }

    /// Checkpoints of this start that are on the disk, on rank zero, and the seconds that training waited for them.
    package var checkpointSummary: (written: Int, waitSeconds: Double, best: CheckpointPosition?)? {
        checkpoints.map { ($0.written, $0.waitSeconds, $0.best?.position) }
    }

    /// The steps that the epoch in progress still has. Collective.
    private func trainEpoch(_ loader: BatchLoader) throws {
        while !epochIsTrained {
            let began = monotonicSeconds()
            communicator.progress.beginStep(state.step(stepsPerEpoch) + 1)
            let rate = try learningRate()
            communicator.progress.enter("waiting for data")
            let waitBefore = loader.waitSeconds
            let batch = try images.next(loader, warn: observer.warn)
            // None of its pictures may be readable.
            guard batch.globalCount > 0 else {
                state.stepInEpoch += 1
                continue
            }
            let result = try step(batch, rate: rate)
            let (sums, stopWasAsked) = try add(result, of: batch)
            let seconds = monotonicSeconds() - began
            state.seconds += seconds
            if isRankZero {
                let metrics = StepMetrics(
                    epoch: state.epoch, step: state.step(stepsPerEpoch), loss: sums.loss / sums.weight,
                    accuracy: sums.correct / Double(batch.globalCount), learningRate: rate,
                    images: batch.globalCount, weight: sums.weight, seconds: seconds,
                    dataWaitSeconds: loader.waitSeconds - waitBefore)
                checkpoints?.add(metrics)
                observer.stepped(metrics)
            }
            if stopWasAsked {
                observer.endIsNear()
                try writeCheckpoint()
                try stop()
            }
            if isCheckpointDue { try writeCheckpoint() }
            advanced(
                .training, state.stepInEpoch, of: stepsPerEpoch, loss: state.meanLoss,
                accuracy: state.correct / state.images)
        }
    }

    private func advanced(
        _ phase: RunProgress.Phase, _ done: Int, of total: Int, loss: Double, accuracy: Double, passesBefore: Int = 0
    ) {
        guard isRankZero else { return }
        observer.advanced(
            RunProgress(
                phase: phase, epoch: state.epoch, done: done, total: total, loss: loss, accuracy: accuracy,
                passesBefore: passesBefore))
    }

    /// Whether this step within an epoch is one of those after which `checkpointSteps` asks for a checkpoint.
    private var isCheckpointDue: Bool {
        guard let every = configuration.faults.checkpointSteps, state.stepInEpoch < stepsPerEpoch else { return false }
        return state.step(stepsPerEpoch) % every == 0
    }

    /// Rank zero's learning rate for the next step. Collective.
    private func learningRate() throws -> Double {
        communicator.progress.enter("learning rate")
        return try communicator.broadcast(
            configuration.learningRate(step: state.step(stepsPerEpoch), stepsPerEpoch: stepsPerEpoch), from: 0)
    }

    /// Adds a step's loss and hits, of all ranks, to the epoch's. Collective.
    ///
    /// - Returns: the sums over the step's images, as `BatchResult` has them, and whether any rank has been asked
    ///   to stop.
    private func add(
        _ result: BatchResult, of batch: Batch
    ) throws -> (sums: (loss: Double, correct: Double, weight: Double), stopWasAsked: Bool) {
        communicator.progress.enter("loss")
        let sums = try communicator.allReduceSum([
            result.lossSum, Double(result.correct), result.weight, observer.wantsStop ? 1 : 0,
            checkpoints?.hasFailed == true ? 1 : 0,
        ])
        let (lossSum, correct, weight) = (sums[0], sums[1], sums[2])
        let (stopRequests, failedCheckpoints) = (sums[3], sums[4])
        if failedCheckpoints > 0 { try finishCheckpoint() }
        if step.isFinite {
            state.lossSum += lossSum
            state.lossWeight += weight
            state.correct += correct
            state.images += Double(batch.globalCount)
        } else {
            try skipOrStop()
        }
        state.stepInEpoch += 1
        return ((lossSum, correct, weight), stopRequests > 0)
    }

    /// Counts a skipped step, whose numbers were not finite, or ends all ranks. Collective.
    private func skipOrStop() throws {
        let report = try NonfiniteReport(step.network, communicator)
        guard configuration.faults.onNonfinite == .skip, !report.isPersistent else { return try stop(for: report) }
        skippedSteps += 1
        if isRankZero { observer.warn("\(place(of: report)); the step is skipped, \(skippedSteps) so far") }
    }

    private func place(of report: NonfiniteReport) -> String {
        "epoch \(state.epoch), step \(state.stepInEpoch + 1): \(report.text)"
    }

    /// Ends all ranks, for numbers that are not finite. Collective.
    private func stop(for report: NonfiniteReport) throws {
        try finishCheckpoint()
        try communicator.throwOnAllRanks {
            guard isRankZero else { return }
            let newest = checkpoints?.newest.map { "\(path)/checkpoints/\($0.fileName)" }
            let advice =
                report.isPersistent
                ? newest.map { "the newest checkpoint is \($0);" } ?? "there is no checkpoint yet;"
                : "no weight was moved; to resume from \(newest ?? "the start") without such steps: `resuming` \(path) "
                    + "`onNonfinite` skip; or"
            throw Failure(
                .data, "\(place(of: report)); \(advice) start anew with a lower `learningRate` or `warmUpEpochs`")
        }
    }

    /// Ends all ranks, which have agreed to stop and have begun to write a checkpoint. Collective.
    private func stop() throws {
        observer.endIsNear()
        try finishCheckpoint()
        throw communicator.markAgreed(
            Failure(
                .stopped,
                "stopped on request after step \(state.step(stepsPerEpoch)); \(Self.resumeAdvice(path))"))
    }

    /// Holds the ranks' weights against each other, writes a checkpoint, evaluates and reports. Collective.
    private func finishEpoch(dataWait: Double) throws {
        communicator.progress.enter("weights hash")
        let differing = try communicator.ranksDiffering(from: step.hash)
        guard differing.isEmpty else {
            throw communicator.markAgreed(
                Failure(
                    .internal,
                    "after epoch \(state.epoch) the weights of rank\(differing.count > 1 ? "s" : "") "
                        + "\(differing.map(String.init).joined(separator: ", ")) differ from rank 0's; do all nodes run the same program "
                        + "on the same kind of CPU?"))
        }
        // An evaluation may take long: by then the epoch's work is safe, and a stop does not wait for the result.
        try writeCheckpoint()
        let (steps, began) = (evaluator.steps, monotonicSeconds())
        let isLast = state.epoch == configuration.epochs || state.step(stepsPerEpoch) >= configuration.steps ?? .max
        let evaluated = try EpochEvaluation(
            evaluator, step,
            furtherViews: { try earlyStop.add($0, epoch: epoch) || isLast ? configuration.finalViews : .image },
            stopping: { observer.wantsStop },
            advanced: { advanced($0, $2, of: steps, loss: $3, accuracy: $4, passesBefore: $1) })
        guard let evaluated else { return try stop() }
        images.tell(evaluator.leftOut, observer.warn)
        let test = evaluated.test
        let maxima = try communicator.allReduceMax([dataWait, observer.wantsStop ? 1 : 0])
        let (longestDataWait, stopRequest) = (maxima[0], maxima[1])
        let metrics = EpochMetrics(
            epoch: state.epoch, trainLoss: state.meanLoss, trainAccuracy: state.correct / state.images,
            testLoss: test.loss, testAccuracy: test.accuracy, imagesPerSecond: state.images / state.seconds,
            learningRate: configuration.learningRate(
                step: state.step(stepsPerEpoch) - 1, stepsPerEpoch: stepsPerEpoch),
            dataWaitSeconds: longestDataWait,
            checkpointWaitSeconds: (checkpoints?.waitSeconds ?? 0) - reportedCheckpointWait,
            epochSeconds: state.seconds, evaluationSeconds: monotonicSeconds() - began,
            image: step.network.imageSize, measures: test.measures, average: evaluated.average,
            flipped: evaluated.flipped, averageFlipped: evaluated.averageFlipped)
        reportedCheckpointWait = checkpoints?.waitSeconds ?? 0
        lastResult = metrics
        if isRankZero { observer.epochEnded(metrics, test) }
        try finishCheckpoint()
        checkpoints?.begin(result: metrics, at: position)
        // Also where `steps` ends the run within an epoch: an epoch in progress is one that is not evaluated yet.
        state.beginEpoch()
        if isFinished {
            observer.endIsNear()
        } else if stopRequest > 0 {
            try stop()
        }
    }

    /// Begins to write a checkpoint, once the one before is written. Collective.
    private func writeCheckpoint() throws {
        try finishCheckpoint()
        guard step.network.parameters.allFinite, step.network.runningStatistics.allFinite else {
            return try stop(for: NonfiniteReport(step.network, communicator))
        }
        checkpoints?.begin(state, at: position)
    }

    /// Where the run stands, for the name of a checkpoint: the last epoch whose steps are all done, evaluated or not,
    /// and the step.
    private var position: CheckpointPosition {
        CheckpointPosition(epoch: state.epoch - (epochIsTrained ? 0 : 1), step: state.step(stepsPerEpoch))
    }

    /// Waits until the checkpoint, or the result, under way is on the disk; a failure ends all ranks or is a warning.
    /// Collective.
    private func finishCheckpoint() throws {
        communicator.progress.enter("checkpoint", mayTakeLong: true)
        try communicator.throwOnAllRanks {
            do { try checkpoints?.finish() } catch let failure as Failure
                where configuration.faults.onCheckpointError == .continue
            {
                observer.warn("\(failure); training continues without")
            }
        }
    }
}
