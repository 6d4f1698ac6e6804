import DenseNetModel
import ImageData
import Kernels
import Support

/// Everything that decides a run; RUN/config.json holds it, and resuming reads it.
public struct RunConfiguration: Sendable, Equatable {
    /// Where the images come from.
    public struct DataSource: Codable, Sendable, Equatable {
        /// A folder of CIFAR-10 or CIFAR-100 binary files, or of pictures in folders for each class; nil for the built-in
        /// synthetic set.
        public var path: String?
        /// A file that lists pictures below the folder with their classes; nil for all that lie in it.
        public var list: String?
        /// The share of pictures to test with, above 0 and below 1, where neither folders nor the list say it.
        public var split: Double?
        /// What a picture that cannot be used does to the run; nil for the default, `stop`.
        public var onBadImage: BadImage?
        /// Where decoded pictures are kept: `ram`, or a folder; nil for nowhere.
        public var cache: String?
        /// Use the first n training images only.
        public var limitTrain: Int?
        /// Use the first n test images only.
        public var limitTest: Int?
        /// The pictures that the run leaves out, for they could not be used when it began; nil for none.
        package var skipped: [String]?
        /// What the files held when the run began; nil for the synthetic set, and in the run folders of older programs.
        package var files: [DataFile]?

        /// What becomes of pictures that cannot be read or decoded.
        public enum BadImage: String, Codable, Sendable, CaseIterable {
            /// The run ends before its first step, with a list of them; or with the first that goes bad later.
            case stop
            /// They are left out, on all ranks alike.
            case skip
        }

        /// The built-in synthetic set where no path is given, and all images where no limit is.
        public init(path: String? = nil, limitTrain: Int? = nil, limitTest: Int? = nil) {
            self.path = path
            self.limitTrain = limitTrain
            self.limitTest = limitTest
        }

        /// The `cache` that is in memory.
        package static let memoryCache = "ram"

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
    public enum NormalizationChoice: Sendable, Equatable {
        /// Mean 0 and deviation 1 in each channel of the training set.
        case channel
        /// The training set's mean image is subtracted.
        case pixelMean
        case none
        /// Means and deviations of red, green and blue, or of grey, in units of 0 to 1.
        case explicit(mean: [Float], std: [Float])
    }

    /// See `FormatVersion`.
    var version: Int? = FormatVersion.first
    /// The model's name, or `custom`.
    public var model: String
    /// The network to train.
    public var network: DenseNetConfiguration
    /// Where the images come from.
    public var data: DataSource
    /// How often the run goes through all training images.
    public var epochs: Int
    /// Stop after this many steps in all, even before the last epoch ends.
    public var steps: Int?
    /// Stop once no epoch has been better for so many, by `bestBy`. Nil for no such end.
    public var earlyStop: Int?
    /// What decides which epoch is the best.
    public var bestBy: BestMeasure
    /// Images per step over all ranks.
    public var batchSize: Int
    /// What all random numbers are drawn from: weights, order, augmentation, dropout, synthetic images.
    public var seed: UInt64
    /// Whether each epoch has a random order of its own.
    public var shuffle: Bool
    /// The learning rate of every step.
    public var schedule: LearningRateSchedule
    /// The number of images per step that the schedule is for: other steps take its rates times their images over this
    /// (Goyal et al., "Accurate, Large Minibatch SGD", 2017). Nil takes the rates as they are.
    public var baseBatch: Int?
    /// Whose mean and variance batch norm takes in training.
    public var statistics: BatchStatistics
    /// How weights follow gradients.
    public var optimizer: OptimizerConfiguration
    /// The share of the target that is spread over all classes; 0 or above and below 1.
    public var labelSmoothing: Double
    /// What each class counts for in the training loss; nil where all count the same.
    public var classWeights: ClassWeights?
    /// The sizes that training images have by epochs, once all else is done to them; nil for the network's in all.
    /// Evaluations have the network's, or `testImage`.
    public var imageSchedule: ImageSchedule?
    /// Height and width of test images; nil for the network's.
    public var testImage: Int?
    /// The weight of a new batch in the running statistics; above 0, up to 1.
    public var normMomentum: Double
    /// Keeps a moving average of the weights, of which each step leaves this share; above 0 and below 1. It is
    /// evaluated beside the weights, and decides which epoch is the best. Nil for none.
    public var averageDecay: Double?
    /// What of each test image the network sees in a further evaluation after the last epoch; the image alone for none.
    public var finalViews: Evaluator.Views
    /// Random changes of training images.
    public var augmentation: Augmentation
    /// How colours become the network's input.
    public var normalization: NormalizationChoice
    /// Element type of the multiplications in dense layers.
    public var precision: Precision
    /// A weights file that the run starts from.
    public var initialWeights: String?
    /// What of the network learns, and how fast.
    public var fineTuning: FineTuning
    /// How the run guards its checkpoints and its numbers.
    public var faults: FaultPolicy

    /// The recipe of the paper (arXiv 1608.06993, section 4.2) where no argument says otherwise.
    public init(
        model: String = customModel, network: DenseNetConfiguration, data: DataSource = DataSource(),
        epochs: Int = 300, steps: Int? = nil, earlyStop: Int? = nil, bestBy: BestMeasure = .accuracy,
        batchSize: Int = 64, seed: UInt64 = 1, shuffle: Bool = true,
        schedule: LearningRateSchedule = LearningRateSchedule(), baseBatch: Int? = nil,
        statistics: BatchStatistics = .globalBatch,
        optimizer: OptimizerConfiguration = OptimizerConfiguration(), labelSmoothing: Double = 0,
        classWeights: ClassWeights? = nil, imageSchedule: ImageSchedule? = nil, testImage: Int? = nil,
        normMomentum: Double = TrainableDenseNet.defaultNormMomentum, averageDecay: Double? = nil,
        finalViews: Evaluator.Views = .image,
        augmentation: Augmentation = Augmentation(crop: true, flip: true),
        normalization: NormalizationChoice = .channel, precision: Precision = .float32, initialWeights: String? = nil,
        fineTuning: FineTuning = FineTuning(), faults: FaultPolicy = FaultPolicy()
    ) {
        self.model = model
        self.network = network
        self.data = data
        self.epochs = epochs
        self.steps = steps
        self.earlyStop = earlyStop
        self.bestBy = bestBy
        self.batchSize = batchSize
        self.seed = seed
        self.shuffle = shuffle
        self.schedule = schedule
        self.baseBatch = baseBatch
        self.statistics = statistics
        self.optimizer = optimizer
        self.labelSmoothing = labelSmoothing
        self.classWeights = classWeights
        self.imageSchedule = imageSchedule
        self.testImage = testImage
        self.normMomentum = normMomentum
        self.averageDecay = averageDecay
        self.finalViews = finalViews
        self.augmentation = augmentation
        self.normalization = normalization
        self.precision = precision
        self.initialWeights = initialWeights
        self.fineTuning = fineTuning
        self.faults = faults
    }

    /// The learning rate of a step, counted from 0 over all epochs.
    package func learningRate(step: Int, stepsPerEpoch: Int) -> Double {
        schedule.rate(step: step, stepsPerEpoch: stepsPerEpoch, epochs: epochs)
            * (baseBatch.map { Double(batchSize) / Double($0) } ?? 1)
    }

    /// What the learning rate of a step is taken times for parts that have a highest rate of their own.
    package var rateFactors: [NetworkPart: Double] {
        Dictionary(
            uniqueKeysWithValues: (fineTuning.learningRateOf?.rates ?? []).map { part, rate in
                (part, rate / schedule.learningRate)
            })
    }

    /// How often the network goes through the test images after each epoch, and after the last: an image and its mirror
    /// image are two.
    package var evaluationPasses: (each: Int, last: Int) {
        let each = averageDecay == nil ? 1 : 2
        return (each, finalViews == .image ? each : 3 * each)
    }

    /// The `model` of a network that was put together piece by piece.
    public static let customModel = "custom"
}

/// As RUN/config.json has it, which programs before and after this one read as well.
extension RunConfiguration: Codable {
    private enum CodingKeys: String, CodingKey {
        case version, model, network, data, epochs, steps, earlyStop, bestBy, batchSize, seed, shuffle, schedule
        case baseBatch, statistics, optimizer, labelSmoothing, classWeights, imageSchedule, testImage, normMomentum
        case averageDecay = "ema"
        case finalViews = "tta"
        case augmentation = "augment"
        case normalization, precision, initialWeights, fineTuning
        case faults = "safety"
    }

    /// Reads config.json.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            model: try values.decode(String.self, forKey: .model),
            network: try values.decode(DenseNetConfiguration.self, forKey: .network),
            data: try values.decode(DataSource.self, forKey: .data),
            epochs: try values.decode(Int.self, forKey: .epochs),
            steps: try values.decodeIfPresent(Int.self, forKey: .steps),
            earlyStop: try values.decodeIfPresent(Int.self, forKey: .earlyStop),
            bestBy: try values.decodeIfPresent(BestMeasure.self, forKey: .bestBy) ?? .accuracy,
            batchSize: try values.decode(Int.self, forKey: .batchSize),
            seed: try values.decode(UInt64.self, forKey: .seed),
            shuffle: try values.decode(Bool.self, forKey: .shuffle),
            schedule: try values.decode(LearningRateSchedule.self, forKey: .schedule),
            baseBatch: try values.decodeIfPresent(Int.self, forKey: .baseBatch),
            statistics: try values.decodeIfPresent(BatchStatistics.self, forKey: .statistics) ?? .globalBatch,
            optimizer: try values.decode(OptimizerConfiguration.self, forKey: .optimizer),
            labelSmoothing: try values.decode(Double.self, forKey: .labelSmoothing),
            classWeights: try values.decodeIfPresent(ClassWeights.self, forKey: .classWeights),
            imageSchedule: try values.decodeIfPresent(ImageSchedule.self, forKey: .imageSchedule),
            testImage: try values.decodeIfPresent(Int.self, forKey: .testImage),
            // Missing in the run folders of programs that had no choice, as are some below.
            normMomentum: try values.decodeIfPresent(Double.self, forKey: .normMomentum)
                ?? TrainableDenseNet.defaultNormMomentum,
            averageDecay: try values.decodeIfPresent(Double.self, forKey: .averageDecay),
            finalViews: try values.decodeIfPresent(Evaluator.Views.self, forKey: .finalViews) ?? .image,
            augmentation: try values.decode(Augmentation.self, forKey: .augmentation),
            normalization: try values.decode(NormalizationChoice.self, forKey: .normalization),
            precision: try values.decodeIfPresent(Precision.self, forKey: .precision) ?? .float32,
            initialWeights: try values.decodeIfPresent(String.self, forKey: .initialWeights),
            fineTuning: try values.decodeIfPresent(FineTuning.self, forKey: .fineTuning) ?? FineTuning(),
            faults: try values.decodeIfPresent(FaultPolicy.self, forKey: .faults) ?? FaultPolicy())
        version = try values.decodeIfPresent(Int.self, forKey: .version)
    }

    /// Reads what a run folder has, which may come from anywhere.
    ///
    /// - Throws: as `init(path:)`.
    package init(from folder: RunFolder) throws { try self.init(path: folder.configuration) }

    /// Reads the config.json of a run.
    ///
    /// - Throws: `Failure(.noInput)` when it cannot be read, `Failure(.data)` naming the file and what is wrong in it.
    package init(path: String) throws {
        struct Versioned: Decodable { let version: Int? }
        // First, since what else a newer program writes may not be understood.
        try FormatVersion.check(RunFolder.readConfiguration(at: path, as: Versioned.self).version, of: path)
        self = try RunFolder.readConfiguration(at: path)
        do { try validate(worldSize: 1) } catch let failure as Failure {
            throw Failure(.data, "\(path): \(failure.message)")
        }
    }
}

extension RunConfiguration.NormalizationChoice: Codable {
    /// Numbers stand in the file as `red,green,blue`.
    private enum Stored: Codable {
        case channel, pixelMean, none
        case explicit(mean: String, std: String)
    }

    /// Reads what `encode(to:)` writes.
    public init(from decoder: any Decoder) throws {
        func numbers(_ text: String) throws -> [Float] {
            try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
                guard let number = Float(word) else {
                    throw Failure(.data, "normalization '\(text)': expected numbers separated by commas")
                }
                return number
            }
        }
        switch try Stored(from: decoder) {
        case .channel: self = .channel
        case .pixelMean: self = .pixelMean
        case .none: self = .none
        case .explicit(let mean, let std): self = .explicit(mean: try numbers(mean), std: try numbers(std))
        }
    }

    /// Writes a name, or means and deviations as text.
    public func encode(to encoder: any Encoder) throws {
        let stored: Stored =
            switch self {
            case .channel: .channel
            case .pixelMean: .pixelMean
            case .none: .none
            case .explicit(let mean, let std): .explicit(mean: Self.text(mean), std: Self.text(std))
            }
        try stored.encode(to: encoder)
    }
}

extension RunConfiguration.NormalizationChoice: CustomStringConvertible {
    /// As messages call it.
    public var description: String {
        switch self {
        case .channel: "channel"
        case .pixelMean: "pixel-mean"
        case .none: "none"
        case .explicit(let mean, let std): "mean \(Self.text(mean)) and deviation \(Self.text(std))"
        }
    }

    static func text(_ numbers: [Float]) -> String { numbers.map { "\($0)" }.joined(separator: ",") }
}
