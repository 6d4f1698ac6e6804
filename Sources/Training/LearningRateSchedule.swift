import Glibc
import Support

/// The learning rate of every step: a pure function of the step, so that a resumed run needs no state for it.
public struct LearningRateSchedule: Codable, Equatable, Sendable {
    /// How the rate changes over a run.
    public enum Shape: Codable, Equatable, Sendable {
        /// The same rate from the first step to the last.
        case constant
        /// Times `factor` from the start of epoch ⌊milestone·epochs⌋ + 1 on (epochs counted from 1), for each milestone
        /// (Huang et al., "Densely Connected Convolutional Networks", section 4.2: 0.1 at 50 % and 75 % of the epochs).
        case step(milestones: [Double], factor: Double)
        /// Half a cosine from the full rate at the first step after the warm-up to 0 at the end
        /// (Loshchilov, Hutter, "SGDR", 2017, without restarts).
        case cosine
        /// A straight line from the full rate at the first step after the warm-up to 0 at the end: the best of the
        /// simple schedules where the number of steps is small (Li, Yumer, Ramanan, "Budgeted Training", 2020).
        case linear
        /// Up along a straight line over the first fifth of the steps and down along another to 0 at the end
        /// (Smith, "Cyclical Learning Rates", 2017, with one cycle).
        case triangle
        /// Up from 1/25 of the rate over 30 % of the steps and down to 1/250,000 of it, along cosines
        /// (Smith, Topin, "Super-Convergence", 2018; the numbers are the defaults of PyTorch's `OneCycleLR`).
        case oneCycle
    }

    /// How the rate changes over a run.
    public let shape: Shape
    /// The highest rate.
    public let learningRate: Double
    /// Over this many epochs the rate climbs linearly with every step, from learningRate / (steps of these epochs) on.
    public let warmUpEpochs: Int

    /// The paper's schedule where no argument says otherwise.
    public init(
        shape: Shape = .step(milestones: [0.5, 0.75], factor: 0.1), learningRate: Double = 0.1, warmUpEpochs: Int = 0
    ) {
        self.shape = shape
        self.learningRate = learningRate
        self.warmUpEpochs = warmUpEpochs
    }

    /// Refuses what no run can follow.
    ///
    /// - Throws: `Failure(.usage)` naming the parameter and the value found.
    public func validate() throws {
        guard learningRate > 0, learningRate.isFinite else {
            throw Failure(.usage, "`learningRate` is \(learningRate), expected a number above 0")
        }
        guard warmUpEpochs >= 0 else {
            throw Failure(.usage, "`warmUpEpochs` is \(warmUpEpochs), expected 0 epochs or more")
        }
        switch shape {
        case .constant, .cosine, .linear: break
        case .step(let milestones, let factor):
            guard factor > 0, factor <= 1 else {
                throw Failure(.usage, "the learning rate's factor is \(factor), expected above 0 and at most 1")
            }
            let ascending = zip(milestones, milestones.dropFirst()).allSatisfy { $0 < $1 }
            guard ascending, milestones.allSatisfy({ $0 > 0 && $0 < 1 }) else {
                throw Failure(
                    .usage,
                    "`milestones` is \(Shape.text(milestones)), expected ascending fractions of the run between 0 and 1, as "
                        + "0.5,0.75")
            }
        case .triangle, .oneCycle:
            guard warmUpEpochs == 0 else {
                throw Failure(.usage, "the \(shape) schedule has a warm-up of its own; leave out `warmUpEpochs`")
            }
        }
    }

    /// The rate of a step.
    ///
    /// - Parameters:
    ///   - step: counted from 0 over all epochs; beyond the end the rate of the end stays.
    ///   - stepsPerEpoch: at least 1.
    ///   - epochs: of the whole run, at least 1.
    public func rate(step: Int, stepsPerEpoch: Int, epochs: Int) -> Double {
        precondition(
            step >= 0 && stepsPerEpoch >= 1 && epochs >= 1, "no rate for step \(step) of \(epochs) × \(stepsPerEpoch)")
        let total = Double(epochs * stepsPerEpoch)
        let warmUp = Double(warmUpEpochs) * Double(stepsPerEpoch)
        let now = Double(step)
        if now < warmUp { return learningRate * (now + 1) / warmUp }
        switch shape {
        case .constant:
            return learningRate
        case .step(let milestones, let factor):
            // The small number holds products such as 0.29 · 100 = 28.999… to what was meant.
            let passed = milestones.count {
                Double(step / stepsPerEpoch) >= ($0 * Double(epochs) + 1e-9).rounded(.down)
            }
            return learningRate * pow(factor, Double(passed))
        case .cosine:
            return Self.cosine(from: learningRate, to: 0, (min(now, total) - warmUp) / max(total - warmUp, 1))
        case .linear:
            return learningRate * (total - min(now, total)) / max(total - warmUp, 1)
        case .triangle:
            let top = total / 5
            return now < top
                ? learningRate * min((now + 1) / top, 1) : learningRate * (total - min(now, total)) / (total - top)
        case .oneCycle:
            let initial = learningRate / 25
            let top = 0.3 * total - 1
            return now <= top
                ? Self.cosine(from: initial, to: learningRate, now / top)
                : Self.cosine(from: learningRate, to: initial / 1e4, (min(now, total - 1) - top) / (total - 1 - top))
        }
    }

    /// The point `progress` (0 to 1) of half a cosine wave between two rates.
    private static func cosine(from start: Double, to end: Double, _ progress: Double) -> Double {
        end + (start - end) / 2 * (1 + cos(.pi * progress))
    }
}

extension LearningRateSchedule.Shape: CustomStringConvertible {
    /// Such as `step at 0.5,0.75`.
    public var description: String {
        switch self {
        case .constant: "constant"
        case .step(let milestones, _): "step at \(Self.text(milestones))"
        case .cosine: "cosine"
        case .linear: "linear"
        case .triangle: "triangle"
        case .oneCycle: "one-cycle"
        }
    }

    fileprivate static func text(_ numbers: [Double]) -> String { numbers.map { "\($0)" }.joined(separator: ",") }
}
