import DenseNetModel
import ImageData
import Kernels
import Support

/// Everything that decides a run, as resolved from the command line; RUN/config.json holds it and resuming reads it.
package struct RunConfiguration: Codable, Sendable, Equatable {
    /// Where the images come from.
    package struct DataSource: Codable, Sendable, Equatable {
        /// A folder of CIFAR-10 or CIFAR-100 binary files; nil for the built-in synthetic set.
        package var path: String?
        /// Use the first so many training or test images only.
        package var limitTrain: Int?
        package var limitTest: Int?
        /// What the files held when the run began; nil for the synthetic set, and in the run folders of older programs.
        package var files: [DataFile]?

        package init(path: String?, limitTrain: Int? = nil, limitTest: Int? = nil) {
            self.path = path
            self.limitTrain = limitTrain
            self.limitTest = limitTest
        }

        /// Images of the synthetic set where no limit says otherwise.
        static let syntheticTrain = 10_000
        static let syntheticTest = 2_000
    }

    /// A file of images, by its content.
    package struct DataFile: Codable, Sendable, Equatable {
        /// Without the folder.
        package let name: String
        /// Of the images in use.
        package let bytes: Int
        /// CRC-32 of these bytes, eight hexadecimal digits.
        package let checksum: String
    }

    /// How colours become the network's input.
    package enum NormalizationChoice: Codable, Sendable, Equatable {
        /// Mean 0 and deviation 1 in each channel of the training set.
        case channel
        /// The training set's mean image is subtracted.
        case pixelMean
        case none
        /// Means and deviations given by hand, each as `red,green,blue`.
        case explicit(mean: String, std: String)
    }

    /// See `FormatVersion`.
    private var version: Int? = FormatVersion.current
    /// The model's name on the command line, or `custom`.
    package var model: String
    package var network: DenseNetConfiguration
    package var data: DataSource
    package var epochs: Int
    /// Stop after so many steps in all, even before the last epoch ends.
    package var steps: Int?
    /// Images of a step over all ranks.
    package var batchSize: Int
    package var seed: UInt64
    package var shuffle: Bool
    package var schedule: LearningRateSchedule
    package var optimizer: OptimizerConfiguration
    package var labelSmoothing: Double
    /// Words as `Augmentation(parsing:)` reads them.
    package var augment: String
    package var normalization: NormalizationChoice
    /// In what dense layers multiply; nil is float32, which runs had before there was a choice.
    package var precision: Precision?
    /// A weights file that the run starts from.
    package var initialWeights: String?
    /// Nil in the run folders of programs that had no such options.
    package var safety: SafetyOptions?

    package init(
        model: String, network: DenseNetConfiguration, data: DataSource, epochs: Int, steps: Int?, batchSize: Int,
        seed: UInt64, shuffle: Bool, schedule: LearningRateSchedule, optimizer: OptimizerConfiguration,
        labelSmoothing: Double, augment: String, normalization: NormalizationChoice, precision: Precision?,
        initialWeights: String?, safety: SafetyOptions?
    ) {
        self.model = model
        self.network = network
        self.data = data
        self.epochs = epochs
        self.steps = steps
        self.batchSize = batchSize
        self.seed = seed
        self.shuffle = shuffle
        self.schedule = schedule
        self.optimizer = optimizer
        self.labelSmoothing = labelSmoothing
        self.augment = augment
        self.normalization = normalization
        self.precision = precision
        self.initialWeights = initialWeights
        self.safety = safety
    }

    /// Reads what a run folder has, which may come from anywhere.
    ///
    /// - Throws: `Failure(.noInput)` when it cannot be read, `Failure(.data)` naming the file and what is wrong in it.
    package init(from folder: RunFolder) throws {
        struct Versioned: Decodable { let version: Int? }
        // First, since what else a newer program writes may not be understood.
        try FormatVersion.check(folder.readConfiguration(as: Versioned.self).version, of: folder.configuration)
        self = try folder.readConfiguration()
        do { try validate(worldSize: 1) } catch let failure as Failure {
            throw Failure(.data, "\(folder.configuration): \(failure.message)")
        }
    }

    /// Makes a run longer or shorter.
    ///
    /// - Throws: `Failure(.usage)` for a run that ends after a number of steps, perhaps within an epoch.
    mutating func change(epochs: Int) throws {
        if let steps, epochs != self.epochs {
            throw Failure(
                .usage,
                "--epochs cannot make a run longer that ends after \(steps) steps (its --steps); begin a new one")
        }
        self.epochs = epochs
    }

    /// Refuses what cannot be run.
    ///
    /// - Throws: `Failure(.usage)` naming the option and what it has to be.
    package func validate(worldSize: Int) throws {
        try network.validate()
        guard (1...1_000_000).contains(epochs) else {
            throw Failure(.usage, "--epochs is \(epochs), expected 1 to 1,000,000")
        }
        if let steps, steps < 1 { throw Failure(.usage, "--steps is \(steps), expected 1 or more") }
        guard (1...1_000_000).contains(batchSize) else {
            throw Failure(.usage, "--batch-size is \(batchSize), expected 1 to 1,000,000 images over all ranks")
        }
        guard batchSize >= worldSize else {
            throw Failure(
                .usage,
                "--batch-size \(batchSize) is smaller than the number of ranks, \(worldSize); each rank needs an image of every step"
            )
        }
        guard labelSmoothing >= 0, labelSmoothing < 1 else {
            throw Failure(.usage, "--label-smoothing is \(labelSmoothing), expected 0 or above and below 1")
        }
        guard optimizer.momentum >= 0, optimizer.momentum < 1 else {
            throw Failure(.usage, "--momentum is \(optimizer.momentum), expected 0 or above and below 1")
        }
        guard !optimizer.nesterov || optimizer.momentum > 0 else {
            throw Failure(.usage, "Nesterov's momentum needs a --momentum above 0; add --no-nesterov")
        }
        guard optimizer.weightDecay >= 0, optimizer.weightDecay.isFinite else {
            throw Failure(.usage, "--weight-decay is \(optimizer.weightDecay), expected 0 or above")
        }
        try schedule.validate()
        guard schedule.warmUpEpochs == 0 || schedule.warmUpEpochs < epochs else {
            throw Failure(
                .usage,
                "--warm-up is \(schedule.warmUpEpochs), expected less than --epochs, which is \(epochs); the learning rate "
                    + "would never be at its height")
        }
        for (option, limit) in [("--limit-train", data.limitTrain), ("--limit-test", data.limitTest)] {
            guard (1...Int(Int32.max)).contains(limit ?? 1) else {
                throw Failure(.usage, "\(option) is \(limit ?? 1), expected 1 to \(Int32.max)")
            }
        }
        try safety?.validate()
        _ = try Augmentation(parsing: augment)
        if case .explicit(let mean, let std) = normalization { _ = try Normalization(mean: mean, std: std) }
    }
}
