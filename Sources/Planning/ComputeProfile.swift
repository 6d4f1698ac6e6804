import DenseNetModel

/// What a rank's own work takes between two events of a `StepSchedule`, and after the last, measured or derived, for
/// one or several numbers of images a rank.
package struct ComputeProfile: Sendable, Equatable {
    /// A measurement: the samples of each part of a step, in seconds, ascending.
    package struct Point: Sendable, Equatable {
        package let images: Int
        package let parts: [[Double]]

        /// - Parameter parts: at least one sample each, in any order.
        package init(images: Int, parts: [[Double]]) {
            self.images = images
            self.parts = parts.map { $0.sorted() }
        }

        /// The whole step, as long as each part takes on average.
        package var seconds: Double { parts.reduce(0) { $0 + expectedMaximum(of: 1, $1) } }
    }

    /// Ascending in images, at least one.
    package let points: [Point]

    package init(_ points: [Point]) {
        precondition(!points.isEmpty, "a profile without a measurement")
        self.points = points.sorted { $0.images < $1.images }
    }

    /// Seconds until the slowest of some ranks is through with each part: between two measured numbers of images on the
    /// straight line between them, beyond them on that through the two nearest; of a single one in proportion.
    package func parts(images: Int, slowestOf ranks: Int) -> [Double] {
        let low = points.last { $0.images <= images } ?? points[0]
        let high = points.first { $0.images >= images } ?? points[points.count - 1]
        let lowParts = low.parts.map { expectedMaximum(of: ranks, $0) }
        guard low.images != images, points.count > 1 else {
            return lowParts.map { $0 * (low.images > 0 ? Double(images) / Double(low.images) : 1) }
        }
        let (first, second): (Point, Point)
        if low.images != high.images {
            (first, second) = (low, high)
        } else {
            (first, second) = images > high.images ? (points[points.count - 2], high) : (low, points[1])
        }
        let place = Double(images - first.images) / Double(second.images - first.images)
        return zip(first.parts, second.parts).map { one, other in
            let (one, other) = (expectedMaximum(of: ranks, one), expectedMaximum(of: ranks, other))
            return max(0, one + place * (other - one))
        }
    }
}

/// The mean of the largest of some draws from samples, which ascend; with more draws than samples, nearly the largest
/// of these.
package func expectedMaximum(of draws: Int, _ samples: [Double]) -> Double {
    let count = Double(samples.count)
    var (mean, below) = (0.0, 0.0)
    for (index, sample) in samples.enumerated() {
        let upTo = power(Double(index + 1) / count, draws)
        mean += sample * (upTo - below)
        below = upTo
    }
    return mean
}

private func power(_ base: Double, _ exponent: Int) -> Double {
    var (result, square, rest) = (1.0, base, exponent)
    while rest > 0 {
        if rest & 1 == 1 { result *= square }
        square *= square
        rest >>= 1
    }
    return result
}

extension ComputeProfile {
    /// What is known of a whole step: a rank's own seconds in each direction and in the optimizer, and those for which
    /// one of `ranks` waited for the slowest.
    package struct WholeStep: Sendable {
        package let images, ranks: Int
        package let forward, backward, optimizer, waiting: Double

        package init(
            images: Int, ranks: Int = 1, forward: Double, backward: Double, optimizer: Double, waiting: Double = 0
        ) {
            (self.images, self.ranks) = (images, ranks)
            (self.forward, self.backward, self.optimizer, self.waiting) = (forward, backward, optimizer, waiting)
        }

        /// How far each part's time is from its mean, up or down with the same chance, so that the slowest of the ranks
        /// is as late as they waited.
        var spread: Double {
            let own = forward + backward + optimizer
            guard ranks > 1, own > 0 else { return 0 }
            var share = 1.0
            for _ in 1..<min(ranks, 64) { share /= 2 }
            return min(1, max(0, waiting / own) / (1 - share))
        }
    }

    /// Divides whole steps into parts, by their multiply-accumulates. Of a single number of images the optimizer's time
    /// is taken to be all that does not grow with them.
    package init(stepsOf steps: [WholeStep], _ schedule: StepSchedule) {
        let forwardWork = schedule.work[..<schedule.forwardCount].reduce(0, +)
        let backwardWork = schedule.work[schedule.forwardCount...].reduce(0, +)
        func point(_ images: Int, forward: Double, backward: Double, optimizer: Double, spread: Double) -> Point {
            let backward = schedule.forwardCount > 0 ? backward : forward + backward
            let parts = schedule.work.enumerated().map { index, work in
                index < schedule.forwardCount ? forward * work / forwardWork : backward * work / backwardWork
            }
            return Point(
                images: images, parts: (parts + [optimizer]).map { [$0 * (1 - spread), $0 * (1 + spread)] })
        }
        var points = steps.map {
            point(
                $0.images, forward: $0.forward, backward: $0.backward, optimizer: $0.optimizer, spread: $0.spread)
        }
        if Set(points.map(\.images)).count == 1 {
            points = [point(0, forward: 0, backward: 0, optimizer: steps[0].optimizer, spread: 0), points[0]]
        }
        self.init(points)
    }
}
