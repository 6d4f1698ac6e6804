import Glibc

/// Random numbers that are a pure function of a key and a counter, so that every rank draws the same numbers for the
/// same sample.
///
/// The key is a hash of a purpose and up to four coordinates (such as seed, epoch, sample, stage); the i-th number is a
/// hash of the key and i (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA
/// 2014). Generators share no state, so the order in which they are used does not matter.
package struct CounterRandom: RandomNumberGenerator, Sendable {
    /// What the numbers are used for; two purposes never share a stream.
    package enum Purpose: UInt64, Sendable {
        case weights = 1
        case shuffle, augmentation, dropout, synthetic, split, mix
    }

    private var state: UInt64

    package init(_ purpose: Purpose, _ first: UInt64, _ second: UInt64 = 0, _ third: UInt64 = 0, _ fourth: UInt64 = 0) {
        var key = Self.mix(purpose.rawValue &* 0x9E37_79B9_7F4A_7C15)
        key = Self.mix(key ^ Self.mix(first &+ 0x9E37_79B9_7F4A_7C15))
        key = Self.mix(key ^ Self.mix(second &+ 0x9E37_79B9_7F4A_7C15))
        key = Self.mix(key ^ Self.mix(third &+ 0x9E37_79B9_7F4A_7C15))
        state = Self.mix(key ^ Self.mix(fourth &+ 0x9E37_79B9_7F4A_7C15))
    }

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mix(state)
    }

    /// A uniform number in `0..<1`: one of 2²⁴ values, each exact in `Float`.
    package mutating func unit() -> Float { Float(next() >> 40) * 0x1p-24 }

    /// A uniform number between the two bounds.
    package mutating func uniform(_ low: Float, _ high: Float) -> Float { low + (high - low) * unit() }

    /// A uniform number of a range, one of 2⁵³ values.
    package mutating func uniform(in range: ClosedRange<Double>) -> Double {
        range.lowerBound + (range.upperBound - range.lowerBound) * (Double(next() >> 11) * 0x1p-53)
    }

    /// A uniform number in `0..<bound`, with a bias below 2⁻³² (multiply and shift).
    ///
    /// - Precondition: `0 < bound ≤ 2³²`.
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0 && bound <= 1 << 32, "no number is below \(bound)")
        return Int(((next() >> 32) &* UInt64(bound)) >> 32)
    }

    /// A number from the standard normal distribution (Box–Muller, in float64).
    package mutating func normal() -> Double {
        let u = (Double(next() >> 11) + 0.5) * 0x1p-53
        let v = Double(next() >> 11) * 0x1p-53
        return sqrt(-2 * log(u)) * cos(2 * .pi * v)
    }
}
