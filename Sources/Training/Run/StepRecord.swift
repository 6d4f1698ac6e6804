import Support

/// What some steps of training in a row came to: a line of `metrics.jsonl`. Numbers that are not finite are `null` in
/// JSON and come back as not-a-number.
public struct StepRecord: Codable, Sendable {
    /// Of the last of the steps, counted from 1.
    public var epoch: Int
    /// The last of the steps, counted from 1 over the whole run.
    public var step: Int
    /// Means over the steps' images, the loss by the weights of their classes where these have some, before the weights moved; accuracies from 0 to 1. Steps whose loss is not finite
    /// are left out.
    public var loss, accuracy: Double
    /// What the last of the steps moved the weights by.
    public var learningRate: Double
    /// Training images of all ranks together.
    public var imagesPerSecond: Double
    /// How long rank zero waited for the steps' batches, in all.
    public var dataWaitSeconds: Double

    enum CodingKeys: String, CodingKey {
        case epoch, step, loss, accuracy
        case learningRate = "learning_rate"
        case imagesPerSecond = "images_per_second"
        case dataWaitSeconds = "data_wait_seconds"
    }

    /// The metrics of some steps, as the properties of the same names describe them.
    public init(
        epoch: Int, step: Int, loss: Double, accuracy: Double, learningRate: Double, imagesPerSecond: Double,
        dataWaitSeconds: Double
    ) {
        self.epoch = epoch
        self.step = step
        self.loss = loss
        self.accuracy = accuracy
        self.learningRate = learningRate
        self.imagesPerSecond = imagesPerSecond
        self.dataWaitSeconds = dataWaitSeconds
    }

    /// Reads a line of `metrics.jsonl`.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        func number(_ key: CodingKeys) throws -> Double { try container.decode(Double?.self, forKey: key) ?? .nan }
        self.init(
            epoch: try container.decode(Int.self, forKey: .epoch), step: try container.decode(Int.self, forKey: .step),
            loss: try number(.loss), accuracy: try number(.accuracy), learningRate: try number(.learningRate),
            imagesPerSecond: try number(.imagesPerSecond), dataWaitSeconds: try number(.dataWaitSeconds))
    }

    /// Writes a line of `metrics.jsonl`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(epoch, forKey: .epoch)
        try container.encode(step, forKey: .step)
        try container.encode(loss.ifFinite, forKey: .loss)
        try container.encode(accuracy.ifFinite, forKey: .accuracy)
        try container.encode(learningRate.ifFinite, forKey: .learningRate)
        try container.encode(imagesPerSecond.ifFinite, forKey: .imagesPerSecond)
        try container.encode(dataWaitSeconds.ifFinite, forKey: .dataWaitSeconds)
    }
}

/// What steps of training in a row add up to. Adding one allocates no memory.
package struct StepSums: Sendable {
    /// Steps whose loss is not finite are left out of the means of loss and accuracy; else they make the loss such.
    private let leavesOutNonfinite: Bool
    package private(set) var steps = 0
    /// How long rank zero waited for the steps' batches, in all.
    package private(set) var dataWaitSeconds = 0.0
    private var (images, seconds) = (0, 0.0)
    /// Over the images that the means are of.
    private var (counted, weight, loss, correct) = (0, 0.0, 0.0, 0.0)

    package init(leavingOutNonfinite: Bool) { leavesOutNonfinite = leavingOutNonfinite }

    /// Means over the images; accuracies from 0 to 1.
    package var meanLoss: Double { loss / weight }
    package var meanAccuracy: Double { correct / Double(counted) }
    /// Of all ranks together.
    package var imagesPerSecond: Double { Double(images) / seconds }

    package mutating func add(_ step: StepMetrics) {
        if step.loss.isFinite || step.weight == 0 || !leavesOutNonfinite {
            loss += step.weight > 0 ? step.loss * step.weight : 0
            weight += step.weight
            correct += step.accuracy * Double(step.images)
            counted += step.images
        }
        steps += 1
        images += step.images
        seconds += step.seconds
        dataWaitSeconds += step.dataWaitSeconds
    }
}

/// Makes a record of every few steps.
struct StepThinner {
    /// A record ends with each step whose number is a multiple of it.
    let interval: Int
    private var sums = StepSums(leavingOutNonfinite: true)

    init(interval: Int) { self.interval = interval }

    /// Adds a step; returns the record that it completes, of all steps since the last one, or since the start.
    mutating func add(_ step: StepMetrics) -> StepRecord? {
        sums.add(step)
        guard step.step % interval == 0 else { return nil }
        defer { self = StepThinner(interval: interval) }
        return StepRecord(
            epoch: step.epoch, step: step.step, loss: sums.meanLoss, accuracy: sums.meanAccuracy,
            learningRate: step.learningRate, imagesPerSecond: sums.imagesPerSecond,
            dataWaitSeconds: sums.dataWaitSeconds)
    }
}
