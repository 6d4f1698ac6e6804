/// The element type of the multiplications in dense-layer convolutions, and of what a dense block keeps in memory:
/// features, bottleneck outputs and the gradients of both. Weights, statistics, gradients of weights and all sums are
/// float32 or wider in either case.
public enum Precision: String, Codable, Sendable, CaseIterable {
    case float32 = "f32"
    /// Numbers are rounded to bfloat16, the upper half of a float32, as they are stored and as they become factors; the
    /// CPU then multiplies pairs. Each 32-bit *element* of an operand holds a pair: two channels where a product sums
    /// over channels, two lanes where it sums over pixels.
    case bfloat16 = "bf16"

    /// The number of 32-bit elements that hold `count` values.
    package func elements(_ count: Int) -> Int { self == .float32 ? count : (count + 1) / 2 }

    /// What to tell the user where this process has no instructions for this type; nil where it has.
    package var warning: String? {
        guard self == .bfloat16, !VectorLevel.current.multipliesBFloat16 else { return nil }
        return "bf16 on this CPU is emulated and slow: it multiplies at vector level \(VectorLevel.current), "
            + "without avx512_bf16; f32 is faster"
    }
}
