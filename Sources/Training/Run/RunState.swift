/// Where a run stands, beside its weights and momenta: the same on all ranks, and all that a checkpoint's metadata has
/// of it.
struct RunState: Equatable {
    /// The epoch in progress, counted from 1.
    var epoch = 1
    /// Steps of it that are done.
    var stepInEpoch = 0
    /// Sums over the images of these steps, of all ranks.
    var lossSum = 0.0
    var correct = 0.0
    var images = 0.0
    /// Seconds spent in these steps.
    var seconds = 0.0
    /// What `lossSum` is divided by for the mean: `images`, or the sum of the weights of their classes.
    var lossWeight = 0.0

    var meanLoss: Double { lossSum / lossWeight }

    func step(_ stepsPerEpoch: Int) -> Int { (epoch - 1) * stepsPerEpoch + stepInEpoch }

    /// Whether the epoch in progress has all the steps that it will have; what it lacks is its evaluation.
    ///
    /// - Parameter steps: of the whole run, where they are limited.
    func isTrained(stepsPerEpoch: Int, steps: Int?) -> Bool {
        stepInEpoch == stepsPerEpoch || stepInEpoch > 0 && step(stepsPerEpoch) >= steps ?? .max
    }

    mutating func beginEpoch() { self = RunState(epoch: epoch + 1) }

    init() {}

    private init(epoch: Int) { self.epoch = epoch }

    /// All of it as numbers, for a broadcast.
    var numbers: [Double] { [Double(epoch), Double(stepInEpoch), lossSum, correct, images, seconds, lossWeight] }

    init(_ numbers: [Double]) {
        epoch = Int(numbers[0])
        stepInEpoch = Int(numbers[1])
        (lossSum, correct, images) = (numbers[2], numbers[3], numbers[4])
        (seconds, lossWeight) = (numbers[5], numbers[6])
    }
}
