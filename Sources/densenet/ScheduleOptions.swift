import ArgumentParser
import DenseNetModel
import ImageData
import Support
import Training

extension RunConfiguration {
    /// What holds where no option of `train` says otherwise.
    static let standard = RunConfiguration(network: try! DenseNetConfiguration(model: Train.defaultModel))
}

/// How long a run is, what a step takes, and how the learning rate goes.
struct ScheduleOptions: ParsableArguments {
    static let defaults = RunConfiguration.standard
    static let syntheticEpochs = 5

    @Option(
        help: ArgumentHelp(
            "Passes over the training images (default: \(defaults.epochs), or \(syntheticEpochs) on synthetic images).",
            valueName: "n"))
    var epochs: Int?

    @Option(help: ArgumentHelp("Stop after this many steps in all (default: after the last epoch).", valueName: "n"))
    var steps: Int?

    @Option(
        help: ArgumentHelp("Images per step over all ranks (default: \(defaults.batchSize)).", valueName: "images"))
    var batchSize: Int?

    @Option(
        help: ArgumentHelp("The highest learning rate (default: \(defaults.schedule.learningRate)).", valueName: "rate")
    )
    var learningRate: Double?

    @Option(
        help: ArgumentHelp(
            "What the learning rate is given for; it is taken times images per step over this (default: the rate as it is).",
            valueName: "images"))
    var baseBatch: Int?

    @Option(
        help: ArgumentHelp(
            "How the learning rate falls (default: \(ScheduleName(defaults.schedule.shape))).", valueName: "name"))
    var schedule: ScheduleName?

    @Option(
        help: ArgumentHelp(
            "With step: fractions of the epochs where the rate drops to a tenth (default: 0.5,0.75).",
            valueName: "f,f,..."), transform: { try numberList($0, like: "0.5,0.75") })
    var milestones: [Double]?

    @Option(
        help: ArgumentHelp(
            "Epochs over which the learning rate climbs to its height (default: \(defaults.schedule.warmUpEpochs)).",
            valueName: "epochs"))
    var warmUp: Int?

    @Option(
        help: ArgumentHelp(
            "Pixels of training images and epochs with them, the last without, such as 16:3,24:2,32 (default: --image in all). Evaluation is at --image.",
            valueName: "p:n,...,p"), transform: imageSizes)
    var imageSchedule: ImageSchedule?

    @Option(
        help: ArgumentHelp(
            "What all random numbers are drawn from, from 0 on (default: \(defaults.seed)).", valueName: "n"),
        transform: seedNumber)
    var seed: UInt64?

    @Flag(help: "Go through the training images in their order.")
    var noShuffle = false

    /// Sets what is given.
    ///
    /// - Throws: `Failure(.usage)` for milestones of a schedule that has none.
    func apply(to run: inout RunConfiguration) throws {
        run.epochs = epochs ?? run.epochs
        run.steps = steps ?? run.steps
        run.batchSize = batchSize ?? run.batchSize
        run.schedule = LearningRateSchedule(
            shape: try shape(over: run.schedule.shape), learningRate: learningRate ?? run.schedule.learningRate,
            warmUpEpochs: warmUp ?? run.schedule.warmUpEpochs)
        run.baseBatch = baseBatch ?? run.baseBatch
        run.imageSchedule = imageSchedule ?? run.imageSchedule
        run.seed = seed ?? run.seed
        run.shuffle = run.shuffle && !noShuffle
    }

    private func shape(over before: LearningRateSchedule.Shape) throws -> LearningRateSchedule.Shape {
        let name = schedule ?? ScheduleName(before)
        if let milestones {
            guard name == .step else {
                let list = milestones.map { "\($0)" }.joined(separator: ",")
                throw Failure(
                    .usage, "--milestones \(list) means nothing to --schedule \(name.rawValue), only to step")
            }
            return .step(milestones: milestones, factor: 0.1)
        }
        return name == ScheduleName(before) ? before : name.shape
    }
}
