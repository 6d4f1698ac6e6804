import Support

/// What a training step spends its time on.
package enum Phase: Int, CaseIterable, Sendable {
    case dataWait, stem, pointwise, spatial, norm, pool, loss, statisticsSync, gradientWait, optimizer, other

    /// The name in reports.
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

/// Measures the time that one thread spends in each phase, forward and backward, and records spans for a trace. When it
/// is off, each call costs one branch.
package final class PhaseClock {
    /// A named interval of a trace, in seconds of `monotonicSeconds()`.
    package struct Span: Sendable {
        package let name: String
        package let from: Double
        package let to: Double
    }

    /// Whether phases are timed.
    package private(set) var isOn = false
    /// The recorded spans; nil if `start` did not ask for them.
    package private(set) var spans: [Span]?
    private var seconds = [Double](repeating: 0, count: 2 * Phase.allCases.count)
    private var phase = Phase.other
    private var isBackward = false
    private var since = 0.0

    package init() {}

    /// Resets the times and starts in forward's phase `other`.
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

    /// Attributes the time from now on to `phase`.
    @inline(__always)
    package func enter(_ phase: Phase) {
        if isOn && phase != self.phase { change(to: phase, isBackward) }
    }

    /// Attributes the time from now on to `phase` of backward or forward.
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

    /// Runs `body`; records it as a span if a trace is recorded.
    @inline(__always)
    package func span(_ name: @autoclosure () -> String, _ body: () throws -> Void) rethrows {
        guard spans != nil, isOn else { return try body() }
        let from = monotonicSeconds()
        try body()
        spans?.append(Span(name: name(), from: from, to: monotonicSeconds()))
    }

    /// Seconds spent in a phase of forward or backward.
    package func seconds(_ phase: Phase, backward: Bool) -> Double { seconds[index(phase, backward)] }

    /// Encodes spans to send them to another rank: for each two times and a zero-terminated name.
    package static func encode(_ spans: [Span]) -> [UInt8] {
        spans.flatMap { span in
            withUnsafeBytes(of: (span.from, span.to)) { Array($0) } + Array(span.name.utf8) + [0]
        }
    }

    package static func decode(_ bytes: [UInt8]) -> [Span] {
        var spans: [Span] = []
        var offset = 0
        while offset + 16 < bytes.count, let end = bytes[(offset + 16)...].firstIndex(of: 0) {
            let times = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: SIMD2<Double>.self) }
            spans.append(
                Span(name: String(decoding: bytes[offset + 16..<end], as: UTF8.self), from: times.x, to: times.y))
            offset = end + 1
        }
        return spans
    }

    private func index(_ phase: Phase, _ backward: Bool) -> Int {
        phase.rawValue + (backward ? Phase.allCases.count : 0)
    }
}
