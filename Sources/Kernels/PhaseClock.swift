import Support

/// What a step spends its time on.
package enum Phase: Int, CaseIterable, Sendable {
    case dataWait, stem, pointwise, spatial, norm, pool, loss, statisticsSync, gradientWait, optimizer, other

    /// As reports call it.
    package var name: String {
        switch self {
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
        case .other: "other"
        }
    }
}

/// Adds up the time that one thread spends in each phase, forward and backward, and notes spans for a trace. Off, it
/// costs a branch.
package final class PhaseClock {
    /// A stretch of time with a name, for a trace; seconds of `monotonicSeconds()`.
    package struct Span: Sendable {
        package let name: String
        package let from: Double
        package let to: Double
    }

    /// Whether phases are timed.
    package private(set) var isOn = false
    /// What has been noted; nil where nobody asked.
    package private(set) var spans: [Span]?
    private var seconds = [Double](repeating: 0, count: 2 * Phase.allCases.count)
    private var phase = Phase.other
    private var isBackward = false
    private var since = 0.0

    package init() {}

    /// Starts anew, in the phase `other` of forward.
    package func start(recordingTrace: Bool = false) {
        for index in seconds.indices { seconds[index] = 0 }
        if recordingTrace && spans == nil { spans = [] }
        phase = .other
        isBackward = false
        since = monotonicSeconds()
        isOn = true
    }

    package func stop() {
        change(to: .other, isBackward)
        isOn = false
    }

    /// From now on time belongs to `phase`.
    @inline(__always)
    package func enter(_ phase: Phase) {
        if isOn && phase != self.phase { change(to: phase, isBackward) }
    }

    /// From now on time belongs to backward, or to forward.
    package func enter(_ phase: Phase, backward: Bool) {
        if isOn { change(to: phase, backward) }
    }

    private func change(to next: Phase, _ backward: Bool) {
        let now = monotonicSeconds()
        seconds[index(phase, isBackward)] += now - since
        if spans != nil, phase == .statisticsSync || phase == .gradientWait || phase == .dataWait || phase == .optimizer
        {
            spans?.append(Span(name: phase.name, from: since, to: now))
        }
        phase = next
        isBackward = backward
        since = now
    }

    /// Does `body`, and notes how long it took where there is a trace.
    @inline(__always)
    package func span(_ name: @autoclosure () -> String, _ body: () throws -> Void) rethrows {
        guard spans != nil, isOn else { return try body() }
        let from = monotonicSeconds()
        try body()
        spans?.append(Span(name: name(), from: from, to: monotonicSeconds()))
    }

    /// Seconds spent in a phase of forward or backward.
    package func seconds(_ phase: Phase, backward: Bool) -> Double { seconds[index(phase, backward)] }

    /// Spans as bytes, to be sent to another rank: two times and a name that ends with a zero.
    package static func encode(_ spans: [Span]) -> [UInt8] {
        spans.flatMap { span in
            withUnsafeBytes(of: (span.from, span.to)) { Array($0) } + Array(span.name.utf8) + [0]
        }
    }

    package static func decode(_ bytes: [UInt8]) -> [Span] {
        var spans: [Span] = []
        var place = 0
        while place + 16 < bytes.count, let end = bytes[(place + 16)...].firstIndex(of: 0) {
            let times = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: SIMD2<Double>.self) }
            spans.append(
                Span(name: String(decoding: bytes[place + 16..<end], as: UTF8.self), from: times.x, to: times.y))
            place = end + 1
        }
        return spans
    }

    private func index(_ phase: Phase, _ backward: Bool) -> Int {
        phase.rawValue + (backward ? Phase.allCases.count : 0)
    }
}
