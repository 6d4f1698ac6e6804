/// What a step spends its time on.
public enum Phase: Int, CaseIterable, Sendable {
    case other, dataWait, stem, pointwise, spatial, norm, pool, loss, statisticsSync, gradientWait, optimizer

    /// As reports call it.
    public var name: String {
        switch self {
        case .other: "other"
        case .dataWait: "data wait"
        case .stem: "stem"
        case .pointwise: "1×1"
        case .spatial: "3×3"
        case .norm: "BN and ReLU"
        case .pool: "pool"
        case .loss: "loss"
        case .statisticsSync: "statistics sync"
        case .gradientWait: "gradient wait"
        case .optimizer: "optimizer"
        }
    }
}

/// Adds up the time that one thread spends in each phase, forward and backward. Off, it costs a branch.
public final class PhaseClock {
    public var isOn = false
    public var isBackward = false
    /// Seconds a phase, first all of forward, then all of backward.
    public private(set) var seconds = [Double](repeating: 0, count: 2 * Phase.allCases.count)
    /// When it is on and there is a trace: hears of each change of phase.
    public var onChange: ((_ phase: Phase, _ isBackward: Bool, _ from: Double, _ to: Double) -> Void)?
    private var phase = Phase.other
    private var since = 0.0

    public init() {}

    /// From now on time belongs to `phase`.
    @inline(__always)
    public func enter(_ phase: Phase) {
        if isOn { change(to: phase) }
    }

    private func change(to next: Phase) {
        guard next != phase || isBackward != wasBackward else { return }
        let now = monotonicSeconds()
        seconds[phase.rawValue + (wasBackward ? Phase.allCases.count : 0)] += now - since
        onChange?(phase, wasBackward, since, now)
        phase = next
        wasBackward = isBackward
        since = now
    }

    private var wasBackward = false

    /// Starts anew, in the phase `other`.
    public func reset() {
        for index in seconds.indices { seconds[index] = 0 }
        phase = .other
        isBackward = false
        wasBackward = false
        since = monotonicSeconds()
    }

    public subscript(phase: Phase, backward: Bool) -> Double { seconds[phase.rawValue + (backward ? Phase.allCases.count : 0)] }
}
