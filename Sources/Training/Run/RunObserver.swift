/// Hears what a training run has to report, and may ask it to stop.
///
/// The reports come on rank zero, on the thread that trains but for `warn`; a rank that asks to stop may be any.
/// Nothing has to be implemented.
public protocol RunObserver: AnyObject, Sendable {
    /// Something that the user should know while the run continues. May be called on another thread.
    func warn(_ message: String)
    /// The first step is about to begin.
    func runBegins(_ run: TrainingRun)
    /// A step of training, or a batch of an evaluation, is done.
    func advanced(_ progress: RunProgress)
    /// A step of training is done. Comes before `advanced`.
    func stepped(_ metrics: StepMetrics)
    /// An epoch is trained and evaluated. Comes before its line in metrics.jsonl.
    func epochEnded(_ metrics: EpochMetrics, _ evaluation: Evaluation)
    /// All epochs are done and the weights are written.
    func runEnded(_ run: TrainingRun)

    /// Whether this rank wants the run to stop, with a checkpoint. Asked on every rank after each step.
    var wantsStop: Bool { get }
    /// The run is about to end: by itself, or since a rank has asked it to. Called on every rank.
    func endIsNear()
}

extension RunObserver {
    /// Does nothing.
    public func warn(_ message: String) {}
    /// Does nothing.
    public func runBegins(_ run: TrainingRun) {}
    /// Does nothing.
    public func advanced(_ progress: RunProgress) {}
    /// Does nothing.
    public func stepped(_ metrics: StepMetrics) {}
    /// Does nothing.
    public func epochEnded(_ metrics: EpochMetrics, _ evaluation: Evaluation) {}
    /// Does nothing.
    public func runEnded(_ run: TrainingRun) {}
    /// False.
    public var wantsStop: Bool { false }
    /// Does nothing.
    public func endIsNear() {}
}

/// How far an epoch's training, or an evaluation, is.
public struct RunProgress: Sendable {
    /// What is in progress.
    public enum Phase: Sendable {
        /// The epoch's training steps.
        case training
        /// The evaluation after them.
        case evaluation
        /// That of the moving average of the weights.
        case averageEvaluation
        /// The evaluation with mirror images, after the last epoch.
        case flippedEvaluation
        /// That of the moving average of the weights.
        case averageFlippedEvaluation
    }

    /// What is in progress.
    public let phase: Phase
    /// Counted from 1.
    public let epoch: Int
    /// Steps done.
    public let done: Int
    /// Steps in all.
    public let total: Int
    /// Means over the images so far.
    public let loss: Double
    /// From 0 to 1.
    public let accuracy: Double
    /// How often the network has gone through the test images since the epoch's last step; an image and its mirror
    /// image are two.
    package let passes: Double

    init(
        phase: Phase, epoch: Int, done: Int, total: Int, loss: Double, accuracy: Double, passesBefore: Int = 0
    ) {
        self.phase = phase
        self.epoch = epoch
        self.done = done
        self.total = total
        self.loss = loss
        self.accuracy = accuracy
        passes = Double(passesBefore) + Double(phase.passes * done) / Double(max(total, 1))
    }
}

/// What one step of training came to, over all ranks.
public struct StepMetrics: Sendable {
    /// Counted from 1.
    public let epoch: Int
    /// Counted from 1 over the whole run.
    public let step: Int
    /// Mean over the step's images, before the weights moved; where classes have weights the mean by these, not a number
    /// where no image counts.
    public let loss: Double
    /// From 0 to 1, likewise.
    public let accuracy: Double
    /// What the weights moved by.
    public let learningRate: Double
    /// Of all ranks.
    public let images: Int
    /// What the images count for in `loss`: their number, or the sum of the weights of their classes.
    public let weight: Double
    /// How long the step took, with the wait for its batch.
    public let seconds: Double
    /// How long rank zero waited for its batch.
    public let dataWaitSeconds: Double

    package init(
        epoch: Int, step: Int, loss: Double, accuracy: Double, learningRate: Double, images: Int, weight: Double? = nil,
        seconds: Double, dataWaitSeconds: Double
    ) {
        self.epoch = epoch
        self.step = step
        self.loss = loss
        self.accuracy = accuracy
        self.learningRate = learningRate
        self.images = images
        self.weight = weight ?? Double(images)
        self.seconds = seconds
        self.dataWaitSeconds = dataWaitSeconds
    }
}
