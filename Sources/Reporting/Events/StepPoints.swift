import Training

/// The points of steps that are not in a file yet: means over the steps of each. Adding a step allocates no memory.
struct StepPoints: Sendable {
    struct Point: Sendable {
        /// The last of its steps.
        let step: Int
        let time: Double
        /// Means over the images.
        let loss, accuracy: Double
        /// Of the last step.
        let learningRate: Double
        let imagesPerSecond: Double
        /// A step's, on rank zero.
        let dataWaitSeconds: Double

        var scalars: [(tag: String, value: Double)] {
            [
                ("loss", loss), ("accuracy", accuracy), ("learning_rate", learningRate),
                ("images_per_second", imagesPerSecond), ("data_wait_seconds", dataWaitSeconds),
            ].map { (EventTag.step + $0, $1) }
        }
    }

    private(set) var finished: [Point] = []
    /// Of the steps since the last point. A loss that is not finite shows as such.
    private var sums = StepSums(leavingOutNonfinite: false)
    private var last: (step: Int, learningRate: Double) = (0, 0)

    /// - Parameter capacity: how many points there are at most.
    init(capacity: Int) { finished.reserveCapacity(capacity) }

    mutating func add(_ step: StepMetrics) {
        sums.add(step)
        last = (step.step, step.learningRate)
    }

    /// Makes a point of the steps since the last one, if there are any.
    mutating func finishPoint(at time: Double) {
        guard sums.steps > 0 else { return }
        finished.append(
            Point(
                step: last.step, time: time, loss: sums.meanLoss, accuracy: sums.meanAccuracy,
                learningRate: last.learningRate, imagesPerSecond: sums.imagesPerSecond,
                dataWaitSeconds: sums.dataWaitSeconds / Double(sums.steps)))
        sums = StepSums(leavingOutNonfinite: false)
    }

    mutating func removeFinished() { finished.removeAll(keepingCapacity: true) }
}
