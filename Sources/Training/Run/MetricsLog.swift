import FoundationEssentials
import Support

/// What a network makes of the test images.
public struct TestResult: Sendable, Equatable {
    /// Mean cross-entropy.
    public var loss: Double
    /// From 0 to 1.
    public var accuracy: Double
    /// What there is beside.
    public var measures: ClassMeasures

    /// A result of these numbers.
    public init(_ loss: Double, _ accuracy: Double, _ measures: ClassMeasures = ClassMeasures()) {
        (self.loss, self.accuracy, self.measures) = (loss, accuracy, measures)
    }

    init(_ evaluation: Evaluation) { self.init(evaluation.loss, evaluation.accuracy, evaluation.measures) }
}

/// What one epoch came to. Numbers that are not finite are `null` in JSON and come back as not-a-number.
public struct EpochMetrics: Codable, Sendable {
    /// Counted from 1.
    public var epoch: Int
    /// Means over all images of the epoch, whatever the number of ranks; accuracies from 0 to 1. Where classes have
    /// weights the training loss is the mean by these.
    public var trainLoss, trainAccuracy, testLoss, testAccuracy: Double
    /// Of the test images, beside loss and accuracy.
    public var measures: ClassMeasures
    /// Training images of all ranks together, without the evaluation.
    public var imagesPerSecond: Double
    /// Of the epoch's last step.
    public var learningRate: Double
    /// How long the steps waited for their batches.
    public var dataWaitSeconds: Double
    /// How long training waited for checkpoints: for copies of the weights, and for files that were not written yet.
    public var checkpointWaitSeconds: Double
    /// How long the epoch's steps took, without the evaluation.
    public var epochSeconds: Double
    /// How long the evaluation after them took, all of it.
    public var evaluationSeconds: Double
    /// Height and width in pixels of the training images; nil in logs of older programs.
    public var image: Int?
    /// By the moving average of the weights, where the run has one.
    public var average: TestResult?
    /// With the mirror image of each image, where the run asks for it: of the last epoch.
    public var flipped: TestResult?
    /// Likewise, by the moving average.
    public var averageFlipped: TestResult?

    enum CodingKeys: String, CodingKey {
        case epoch
        case trainLoss = "train_loss"
        case trainAccuracy = "train_accuracy"
        case testLoss = "test_loss"
        case testAccuracy = "test_accuracy"
        case imagesPerSecond = "images_per_second"
        case learningRate = "learning_rate"
        case dataWaitSeconds = "data_wait_seconds"
        case checkpointWaitSeconds = "checkpoint_wait_seconds"
        case epochSeconds = "epoch_seconds"
        case evaluationSeconds = "evaluation_seconds"
        case image
    }

    /// A key of a number that not every epoch has.
    private struct FurtherKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(_ name: String) { stringValue = name }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    /// The metrics of an epoch, as the properties of the same names describe them.
    public init(
        epoch: Int, trainLoss: Double, trainAccuracy: Double, testLoss: Double, testAccuracy: Double,
        imagesPerSecond: Double, learningRate: Double, dataWaitSeconds: Double, checkpointWaitSeconds: Double,
        epochSeconds: Double, evaluationSeconds: Double, image: Int? = nil,
        measures: ClassMeasures = ClassMeasures(), average: TestResult? = nil, flipped: TestResult? = nil,
        averageFlipped: TestResult? = nil
    ) {
        self.epoch = epoch
        self.trainLoss = trainLoss
        self.trainAccuracy = trainAccuracy
        self.testLoss = testLoss
        self.testAccuracy = testAccuracy
        self.imagesPerSecond = imagesPerSecond
        self.learningRate = learningRate
        self.dataWaitSeconds = dataWaitSeconds
        self.checkpointWaitSeconds = checkpointWaitSeconds
        self.epochSeconds = epochSeconds
        self.evaluationSeconds = evaluationSeconds
        self.image = image
        self.measures = measures
        self.average = average
        self.flipped = flipped
        self.averageFlipped = averageFlipped
    }

    private static let numbers: [(CodingKeys, WritableKeyPath<EpochMetrics, Double> & Sendable)] = [
        (.trainLoss, \.trainLoss), (.trainAccuracy, \.trainAccuracy), (.testLoss, \.testLoss),
        (.testAccuracy, \.testAccuracy),
        (.imagesPerSecond, \.imagesPerSecond), (.learningRate, \.learningRate), (.dataWaitSeconds, \.dataWaitSeconds),
        (.checkpointWaitSeconds, \.checkpointWaitSeconds), (.epochSeconds, \.epochSeconds),
        (.evaluationSeconds, \.evaluationSeconds),
    ]

    /// Results that not every epoch has, with what their keys begin with.
    private static let results: [(prefix: String, WritableKeyPath<EpochMetrics, TestResult?> & Sendable)] = [
        ("ema_", \.average), ("flip_", \.flipped), ("ema_flip_", \.averageFlipped),
    ]

    private static let measureNames: [(String, WritableKeyPath<ClassMeasures, Double?> & Sendable)] = [
        ("macro_recall", \.macroRecall), ("macro_precision", \.macroPrecision), ("top5", \.topFive), ("auroc", \.auroc),
    ]

    /// All numbers but the epoch's, with the names that they have in `metrics.jsonl`.
    package var namedNumbers: [(name: String, value: Double)] {
        func named(_ measures: ClassMeasures, _ prefix: String) -> [(String, Double)] {
            Self.measureNames.compactMap { name, field in measures[keyPath: field].map { (prefix + name, $0) } }
        }
        return Self.numbers.map { ($0.rawValue, self[keyPath: $1]) } + named(measures, "")
            + Self.results.flatMap { prefix, field -> [(String, Double)] in
                guard let result = self[keyPath: field] else { return [] }
                let numbers = [(CodingKeys.testLoss, result.loss), (.testAccuracy, result.accuracy)]
                return numbers.map { (prefix + $0.rawValue, $1) } + named(result.measures, prefix)
            }
    }

    /// By the weights, of the images as they are.
    package var test: TestResult { TestResult(testLoss, testAccuracy, measures) }

    /// The results beside those of the weights themselves, with names for people; the average's comes first.
    package var furtherResults: [(name: String, result: TestResult)] {
        [("average", average), ("with flip", flipped), ("average with flip", averageFlipped)].compactMap {
            name, result in
            result.map { (name, $0) }
        }
    }

    /// What decides which epoch is the best: the result of the average where there is one.
    package var deciding: TestResult { average ?? test }

    /// Reads a line of `metrics.jsonl`.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let nan = Double.nan
        self.init(
            epoch: try container.decode(Int.self, forKey: .epoch), trainLoss: nan, trainAccuracy: nan, testLoss: nan,
            testAccuracy: nan, imagesPerSecond: nan, learningRate: nan, dataWaitSeconds: nan,
            checkpointWaitSeconds: nan, epochSeconds: nan, evaluationSeconds: nan,
            image: try container.decodeIfPresent(Int.self, forKey: .image))
        for (key, field) in Self.numbers {
            // Logs of older programs lack these keys.
            self[keyPath: field] =
                [\.checkpointWaitSeconds, \.evaluationSeconds].contains(field)
                ? try container.decodeIfPresent(Double.self, forKey: key) ?? nan
                : try container.decode(Double?.self, forKey: key) ?? nan
        }
        let further = try decoder.container(keyedBy: FurtherKey.self)
        func measures(_ prefix: String) throws -> ClassMeasures {
            try Self.measureNames.reduce(into: ClassMeasures()) { measures, entry in
                let key = FurtherKey(prefix + entry.0)
                measures[keyPath: entry.1] = try further.decodeIfPresent(Double.self, forKey: key)
            }
        }
        self.measures = try measures("")
        for (prefix, field) in Self.results {
            let accuracy = FurtherKey(prefix + CodingKeys.testAccuracy.rawValue)
            guard further.contains(accuracy) else { continue }
            let loss = FurtherKey(prefix + CodingKeys.testLoss.rawValue)
            self[keyPath: field] = TestResult(
                try further.decode(Double?.self, forKey: loss) ?? nan,
                try further.decode(Double?.self, forKey: accuracy) ?? nan, try measures(prefix))
        }
    }

    /// Writes a line of `metrics.jsonl`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(epoch, forKey: .epoch)
        try container.encodeIfPresent(image, forKey: .image)
        var numbers = encoder.container(keyedBy: FurtherKey.self)
        for (name, value) in namedNumbers { try numbers.encode(value.ifFinite, forKey: FurtherKey(name)) }
    }
}

extension [EpochMetrics] {
    /// The first of the best epochs, by the average where there is one, whose weights best.safetensors has; nil where none
    /// has a measure.
    package func best(by measure: BestMeasure) -> EpochMetrics? {
        reduce(nil) { best, epoch in
            let (value, before) = (measure.value(of: epoch.deciding), best.flatMap { measure.value(of: $0.deciding) })
            return measure.isBetter(value, than: before) ? epoch : best
        }
    }
}

/// The log of a run's epochs and, where they are asked for, of its steps: a JSON object a line, in the order of what
/// they tell. A line that has the key `step` is of steps. Rank zero alone has one.
package struct MetricsLog: Sendable {
    package let path: String

    package init(path: String) { self.path = path }

    /// Adds a line and waits until it is on the disk.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; the log is as before then.
    package func append(_ metrics: EpochMetrics) throws { try append(lines: [metrics]) }

    /// Adds a line for each record, all of them or none, and waits until they are on the disk.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; the log is as before then.
    package func append(_ records: [StepRecord]) throws {
        if !records.isEmpty { try append(lines: records) }
    }

    private func append(lines: [some Encodable]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        try LogFile.append(lines.flatMap { Array(try encoder.encode($0)) + [UInt8(ascii: "\n")] }, to: path)
    }

    /// The number of the last epoch that has a whole line; nil where there is none.
    ///
    /// - Throws: as `truncate`.
    package func lastEpoch() throws -> Int? { try epochs().map(\.epoch).max() }

    /// The epochs that have a whole line, in the order of the lines; none for a log that does not exist.
    ///
    /// - Throws: as `truncate`.
    package func epochs() throws -> [EpochMetrics] {
        try entries(in: contents()).compactMap { if case .epoch(let metrics) = $0.entry { metrics } else { nil } }
    }

    /// Drops what a resumed run will write again: the lines of later epochs and steps, and a last line that the end of
    /// the process cut.
    ///
    /// A log that does not exist is left so.
    ///
    /// - Throws: `Failure(.noInput)` when the log cannot be read, `Failure(.data)` for a line within it that is no
    ///   epoch's and no steps', `Failure(.unavailable)` when the system refuses the new one; the log is as before then.
    package func truncate(keepingEpochsUpTo lastEpoch: Int, stepsUpTo lastStep: Int) throws {
        let text = try contents()
        let kept = try entries(in: text).filter { entry, _ in
            switch entry {
            case .epoch(let metrics): metrics.epoch <= lastEpoch
            case .steps(let record): record.step <= lastStep
            }
        }.flatMap { $0.line + [UInt8(ascii: "\n")] }
        guard !kept.elementsEqual(text) else { return }
        try AtomicFile.write(kept, to: path)
    }

    /// Empty for a log that does not exist.
    private func contents() throws -> Data {
        try FileSystem.exists(path) ? Data(InputFile.contents(of: path, atMost: 1 << 30)) : Data()
    }

    private enum Entry {
        case epoch(EpochMetrics)
        case steps(StepRecord)
    }

    private func entries(in text: Data) throws -> [(entry: Entry, line: Data)] {
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let decoder = JSONDecoder()
        return try lines.enumerated().compactMap { number, line -> (entry: Entry, line: Data)? in
            if let record = try? decoder.decode(StepRecord.self, from: line) { return (.steps(record), line) }
            if let metrics = try? decoder.decode(EpochMetrics.self, from: line) { return (.epoch(metrics), line) }
            // What follows the last line feed is nothing, or a cut line.
            guard number == lines.count - 1 else {
                throw Failure(
                    .data, "\(path): line \(number + 1) is no metrics of an epoch or of steps; mend or remove it")
            }
            return nil
        }
    }
}
