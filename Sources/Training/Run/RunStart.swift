import Glibc
import Support

/// Where a run begins or is resumed, on rank zero: its folder, and a network, optimizer and state that are as they have
/// to be.
struct RunStart {
    let folder: RunFolder
    let state: RunState
    /// The checkpoint that the run is resumed from.
    let newest: CheckpointPosition?
    /// Those that are done, with a line in the log.
    let epochs: [EpochMetrics]

    /// Begins a new run: with fresh weights, or those that `initialWeights` names.
    ///
    /// - Parameter path: of the run folder; nil for a new one below `runs`, named after the time and the model.
    /// - Throws: `Failure` when the weights cannot be read, or the folder cannot be made or holds a run.
    init(
        newAt path: String?, _ configuration: RunConfiguration, step: TrainingStep, warn: (String) -> Void
    ) throws {
        step.network.initialize(seed: configuration.seed)
        if let weights = configuration.initialWeights {
            let isStrict = configuration.fineTuning.initStrict
            for line in try GivenWeights.begin(step.network, from: weights, isStrict: isStrict) { warn(line) }
        }
        step.average?.begin(at: step.network)
        folder = try RunFolder(
            path: path ?? RunFolder.makeNew(below: "runs", model: configuration.model), resuming: false)
        var configuration = configuration
        configuration.version = FormatVersion.needed(by: configuration)
        try folder.writeConfiguration(configuration)
        (state, newest, epochs) = (RunState(), nil, [])
    }

    /// Resumes from the newest valid checkpoint; from the beginning only where nothing was ever finished.
    ///
    /// - Parameters:
    ///   - configuration: as it is now, and `before`: as config.json has it.
    /// - Throws: `Failure(.noInput)` where there is no checkpoint but there are results, which starting anew would
    ///   overwrite; `Failure(.usage)` when the run is past the epochs it is to have; what reading a checkpoint throws.
    init(
        resuming folder: RunFolder, _ configuration: RunConfiguration, before: RunConfiguration, step: TrainingStep,
        stepsPerEpoch: Int, warn: (String) -> Void
    ) throws {
        let found = try CheckpointFolder(path: folder.checkpoints).newestValid()
        for warning in found?.warnings ?? [] { warn(warning) }
        let log = MetricsLog(path: folder.metrics)
        var state = RunState()
        if let found {
            state = try step.read(found.checkpoint, stepsPerEpoch: stepsPerEpoch)
            // A checkpoint is from before the evaluation of its epoch; the result is in the log.
            if state.isTrained(stepsPerEpoch: stepsPerEpoch, steps: configuration.steps),
                try log.lastEpoch() ?? 0 >= state.epoch
            {
                state.beginEpoch()
            }
        } else {
            try Self.requireNoResults(in: folder)
            // Resuming opens no file that a run folder names but the images.
            if let weights = configuration.initialWeights {
                throw Failure(
                    .noInput,
                    "\(folder.path) has no checkpoint to resume from, and the run began with the weights \(weights); begin another "
                        + "run with them (`initialWeights`)")
            }
            step.network.initialize(seed: configuration.seed)
            step.average?.begin(at: step.network)
        }
        self.state = state
        newest = found?.checkpoint.position
        self.folder = folder
        guard configuration.epochs >= state.epoch - 1 else {
            throw Failure(
                .usage, "`epochs` is \(configuration.epochs), but the run has finished epoch \(state.epoch - 1) already"
            )
        }
        try log.truncate(keepingEpochsUpTo: state.epoch - 1, stepsUpTo: state.step(stepsPerEpoch))
        epochs = try log.epochs()
        try keep(configuration, over: before, stepsPerEpoch: stepsPerEpoch, warn)
    }

    /// The writer of the run's checkpoints and results from here on.
    ///
    /// - Parameter stepMetrics: steps of a line in metrics.jsonl; nil for none.
    /// - Throws: as `CheckpointWriter.init`.
    func checkpointWriter(
        of step: TrainingStep, _ configuration: RunConfiguration, data: RunData, stepMetrics: Int?,
        warn: @escaping @Sendable (String) -> Void
    ) throws -> CheckpointWriter {
        let trainImages = data.train.count
        return try CheckpointWriter(
            of: step,
            folder: CheckpointFolder(path: folder.checkpoints, keep: configuration.faults.keep, warn: warn),
            newest: newest, metrics: MetricsLog(path: folder.metrics), stepMetrics: stepMetrics,
            bestWeights: folder.best, bestBy: configuration.bestBy,
            best: BestEpoch(path: folder.best, measure: configuration.bestBy, last: state.epoch - 1),
            metadata: data.weightsMetadata, version: FormatVersion.needed(by: configuration),
            summary: { metrics in
                let kind: TrainingSummary.Weights = metrics.average == nil ? .trained : .averaged
                return try TrainingSummary(kind, configuration, trainImages: trainImages, after: metrics).metadata
            })
    }

    /// A run that has results, but nothing to resume from, must not begin anew over them.
    private static func requireNoResults(in folder: RunFolder) throws {
        let results = [folder.metrics, folder.best, folder.averages, folder.weights].filter { path in
            // Lines of steps come before the first checkpoint, and are no result.
            let isOfSteps = path == folder.metrics && (try? MetricsLog(path: path).lastEpoch() == nil) == true
            return !isOfSteps && (try? InputFile(path: path).size) ?? 0 > 0
        }
        guard let first = results.first else { return }
        let names = results.map { String($0.dropFirst(folder.path.count + 1)) }.joined(separator: ", ")
        let weights = results.last { $0 != folder.metrics }
        throw Failure(
            .noInput,
            "\(folder.checkpoints): there is no checkpoint to resume from, and starting anew would overwrite \(names); bring the "
                + "checkpoints back, or "
                + (weights.map { "begin another run with `initialWeights` \($0)" }
                    ?? "remove \(first) to begin this one anew"))
    }

    /// Writes what has changed for good into config.json, and says what it means.
    private func keep(
        _ configuration: RunConfiguration, over before: RunConfiguration, stepsPerEpoch: Int, _ warn: (String) -> Void
    ) throws {
        var stored = before
        stored.epochs = configuration.epochs
        stored.data.files = configuration.data.files
        guard stored != before else { return }
        try folder.writeConfiguration(stored)
        guard stored.epochs != before.epochs else { return }
        func rate(_ run: RunConfiguration) -> Double {
            run.learningRate(step: state.step(stepsPerEpoch), stepsPerEpoch: stepsPerEpoch)
        }
        warn(
            "the run has \(stored.epochs) epochs now, not \(before.epochs); from here on the learning rate is that of a run of "
                + "\(stored.epochs): \(rate(stored)) for the next step in place of \(rate(before))")
    }
}
