/// The element type of the multiplications in dense-layer convolutions. Weights, features, statistics, gradients and
/// all sums are float32 or wider in either case.
public enum Precision: String, Codable, Sendable, CaseIterable {
    case float32 = "f32"
    /// Both factors are first rounded to bfloat16, the upper half of a float32; the CPU then multiplies pairs. Each
    /// 32-bit *element* of an operand holds a pair: two channels where a product sums over channels, two lanes where it
    /// sums over pixels.
    case bfloat16 = "bf16"

    /// The number of 32-bit elements that hold `count` values.
    package func elements(_ count: Int) -> Int { self == .float32 ? count : (count + 1) / 2 }
}
