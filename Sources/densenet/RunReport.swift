import DenseNetModel
import ImageData
import Support
import Synchronization
import Training

/// Shows a run to the user: its lines, and how far it is.
final class RunReport: RunObserver {
    private let logging: LoggingOptions
    /// Those that keep what is reported.
    private let recorders: [any RunObserver]
    /// What lines there is room for where nobody watches.
    private let budget = LogBudget()
    private let state = Mutex(State())

    private struct State {
        /// The line of the epoch's training, or evaluation, in progress.
        var line: ProgressLine?
        var progress: RunProgress?
        var clock: RunClock?
        var epochs = 0
        /// Pixels of the test images.
        var image = 0
        /// When this start's first step began, and when there was something to report last.
        var (began, latest) = (monotonicSeconds(), monotonicSeconds())
        /// The best epoch's value of the measure that decides.
        var best: Double?
        var bestBy = BestMeasure.accuracy
        var isThinned = false
    }

    init(_ logging: LoggingOptions, recorders: [any RunObserver] = []) {
        self.logging = logging
        self.recorders = recorders
    }

    var wantsStop: Bool { StopSignal.isRaised }

    func endIsNear() {
        StopSignal.takeNote()
        finishLine()
        for recorder in recorders { recorder.endIsNear() }
    }

    func warn(_ message: String) { Console.note(withOptionNames(message)) }

    func stepped(_ metrics: StepMetrics) {
        for recorder in recorders { recorder.stepped(metrics) }
        state.withLock { $0.clock?.stepped(metrics.step, seconds: metrics.seconds) }
    }

    // MARK: - Begin and end

    func runBegins(_ run: TrainingRun) {
        if !logging.quiet { for line in introduction(run) { Console.say(line) } }
        for warning in run.data.warnings { Console.note(warning) }
        if let refusal = run.evaluator.scoresRefusal { Console.note(Evaluator.note(on: refusal)) }
        if let warning = run.configuration.precision.warning { Console.note(warning) }
        if let refusal = run.step.refusal, refusal.isOfSystem { Console.note(refusal.note) }
        for recorder in recorders { recorder.runBegins(run) }
        let before = run.isResumed ? RunSummary(path: run.path, bestBy: run.configuration.bestBy) : nil
        state.withLock { state in
            state = State()
            state.epochs = run.configuration.epochs
            state.image = run.configuration.network.image
            var clock = RunClock(
                steps: run.steps, stepsPerEpoch: run.stepsPerEpoch,
                testShare: Double(run.data.test.count) / Double(run.data.train.count),
                phases: run.configuration.phases, passes: run.configuration.evaluationPasses)
            clock.evaluated(seconds: before?.evaluationSeconds ?? .nan)
            state.clock = clock
            state.best = before?.bestValue
            state.bestBy = run.configuration.bestBy
        }
    }

    /// The first lines.
    private func introduction(_ run: TrainingRun) -> [String] {
        let (configuration, network) = (run.configuration, run.configuration.network)
        var lines = [run.machine.summary]
        if logging.verbose { lines += run.machine.details }
        lines += [
            "\(configuration.model): \(run.step.network.table.parameterCount) parameters, "
                + "\(network.image)×\(network.image) images, \(network.classes) classes"
        ]
        if let freeze = configuration.fineTuning.freeze {
            let names = freeze.map(\.rawValue).joined(separator: ", ")
            lines.append("frozen: \(names); \(run.step.network.learningParameterCount) parameters learn")
        }
        lines += [
            "\(run.data.train.count) training and \(run.data.test.count) test images "
                + "(\(configuration.data.path ?? "synthetic")), \(configuration.batchSize) a step, "
                + "\(counted(run.stepsPerEpoch, "step")) an epoch, \(counted(configuration.epochs, "epoch"))"
                + (configuration.imageSchedule.map { ", of \($0) pixels" } ?? ""),
            "run folder: \(run.path)",
        ]
        if run.machine.ranks > 1, let refusal = run.step.refusal, !refusal.isOfSystem { lines.append(refusal.note) }
        guard run.isResumed else { return lines }
        let place =
            run.epochIsTrained
            ? "the evaluation of epoch \(run.epoch)"
            : "epoch \(run.epoch), step \(run.stepInEpoch + 1)"
        return lines + ["resuming at \(place)"]
    }

    func runEnded(_ run: TrainingRun) {
        for recorder in recorders { recorder.runEnded(run) }
        conclude(run, seconds: monotonicSeconds() - state.withLock(\.began))
    }

    /// The last screen.
    ///
    /// - Parameter seconds: how long this start took; nil where the run was finished before.
    func conclude(_ run: TrainingRun, seconds: Double? = nil) {
        guard !logging.quiet else { return RunSummary.showWeights(of: run.path) }
        let checkpoints = seconds == nil ? nil : run.checkpointSummary
        if let reason = run.earlyStop.reason { Console.say(reason) }
        RunSummary(path: run.path, bestBy: run.configuration.bestBy).show(
            seconds: seconds, checkpoints: checkpoints.map { ($0.written, $0.waitSeconds) })
    }

    // MARK: - Progress

    func advanced(_ progress: RunProgress) {
        guard !logging.quiet else { return }
        state.withLock { state in
            if state.progress?.phase != progress.phase || state.progress?.epoch != progress.epoch {
                state.line?.finish()
                state.line = nil
            }
            var line = state.line ?? self.line(for: progress, state)
            line.update(
                done: progress.done, loss: progress.loss, accuracy: progress.accuracy,
                runSeconds: state.clock?.remaining(at: progress))
            let isDone = progress.done == progress.total
            if isDone { line.finish() }
            state.line = isDone ? nil : line
            state.progress = progress
            state.latest = monotonicSeconds()
        }
    }

    /// The line that an epoch's first step, or the first one after resuming, begins.
    private func line(for progress: RunProgress, _ state: State) -> ProgressLine {
        let isTraining = progress.phase == .training
        let pace = logging.logEvery.map { interval in
            ProgressLine.Pace.steps(interval, before: isTraining ? (progress.epoch - 1) * progress.total : 0)
        }
        return ProgressLine(
            phase: name(of: progress.phase),
            place: ProgressLine.Place(epoch: progress.epoch, epochs: state.epochs), total: progress.total,
            first: progress.done - 1, start: state.latest, pace: pace ?? .tenths(budget))
    }

    private func name(of phase: RunProgress.Phase) -> String {
        switch phase {
        case .training: "Training"
        case .evaluation: "Test"
        case .averageEvaluation: "Test of average"
        case .flippedEvaluation: "Test with flip"
        case .averageFlippedEvaluation: "Test of average with flip"
        }
    }

    private func finishLine() {
        state.withLock { state in
            state.line?.finish()
            state.line = nil
        }
    }

    // MARK: - Epochs

    func epochEnded(_ epoch: EpochMetrics, _ evaluation: Evaluation) {
        finishLine()
        for recorder in recorders { recorder.epochEnded(epoch, evaluation) }
        let isBest = state.withLock { state in
            state.clock?.evaluated(seconds: epoch.evaluationSeconds)
            state.latest = monotonicSeconds()
            let value = state.bestBy.value(of: epoch.deciding)
            let isBest = state.bestBy.isBetter(value, than: state.best)
            if isBest { state.best = value }
            return isBest
        }
        guard !logging.quiet else { return }
        let size = epoch.image.flatMap { $0 == state.withLock(\.image) ? nil : " of \($0)×\($0) pixels" } ?? ""
        func number(_ value: Double) -> String { value.formatted(places: 4) }
        let training =
            "epoch \(String(epoch.epoch).paddedWithZeros(to: 3)), Training loss: \(number(epoch.trainLoss)), "
            + "Training accuracy: \(number(epoch.trainAccuracy))"
        let test =
            "Test loss: \(number(epoch.testLoss)), Test accuracy: \(number(epoch.testAccuracy))  "
            + "(\(epoch.imagesPerSecond.formatted(places: 1)) images/s\(size), waited "
            + "\(epoch.dataWaitSeconds.formatted(places: 2)) s for data, "
            + "\(epoch.checkpointWaitSeconds.formatted(places: 2)) s for checkpoints)"
        let further = epoch.furtherResults.map { name, result in
            "\(name): Test loss: \(number(result.loss)), Test accuracy: \(number(result.accuracy))"
        }
        guard mayShow(([training, test] + further).joined(separator: "\n")) else { return }
        Console.say(training)
        // The first of the further ones is the average, which decides.
        let deciding = epoch.average == nil ? test : further[0]
        for line in [test] + further { Console.say(line, in: isBest && line == deciding ? .green : nil) }
        if logging.verbose { Console.say(details(of: epoch)) }
    }

    /// Where nobody watches, an epoch may be too short for lines of its own; the last screen has the last one.
    private func mayShow(_ lines: String) -> Bool {
        if Terminal.hasOutput || logging.verbose || budget.allows(lines, isProgress: false) { return true }
        let isFirst = state.withLock { state in
            defer { state.isThinned = true }
            return !state.isThinned
        }
        if isFirst {
            Console.say(
                "to keep this log under 100 KB a day, not every epoch is shown from here on; metrics.jsonl has them all"
            )
        }
        return false
    }

    private func details(of epoch: EpochMetrics) -> String {
        "    training \(duration(epoch.epochSeconds)), evaluation \(duration(epoch.evaluationSeconds)), "
            + "learning rate \(epoch.learningRate.scientific), \(peakResidentBytes() >> 20) MiB resident at most on rank 0"
    }
}
