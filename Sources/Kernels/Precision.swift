/// In what the convolutions of the dense layers multiply. Weights, features, statistics, gradients and all sums are
/// float32, or more, in both.
public enum Precision: String, Codable, Sendable, CaseIterable {
    case float32 = "f32"
    /// Both factors of a product are rounded to bfloat16, float32's upper half, first: the CPU multiplies two pairs
    /// where it had one float32. An *element* of such an operand is 32 bits that hold a pair, of two channels where a
    /// product sums over channels, of two lanes where it sums over pixels.
    case bfloat16 = "bf16"

    /// Elements that so many numbers take.
    package func elements(_ count: Int) -> Int { self == .float32 ? count : (count + 1) / 2 }
}
