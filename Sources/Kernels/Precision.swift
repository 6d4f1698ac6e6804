import Support

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

    /// What to tell the user where this process multiplies this type no faster than float32; nil where it does. Measures
    /// for a millisecond or two.
    package var warning: String? {
        guard self == .bfloat16 else { return nil }
        guard VectorLevel.current.multipliesBFloat16 else {
            return "bf16 on this CPU is emulated and slow: it multiplies at vector level \(VectorLevel.current), "
                + "without avx512_bf16; f32 is faster"
        }
        // Intel's CPUs have the instruction, but multiply pairs at half the rate of single numbers (but for AMX).
        let ratio = Precision.bfloat16.secondsOfAProduct() / Precision.float32.secondsOfAProduct()
        guard ratio > 1 else { return nil }
        return "bf16 on this CPU saves memory but no time: a product takes \(ratio.formatted(places: 1)) times as long "
            + "as in f32, for all that there is avx512_bf16"
    }

    /// The seconds of one 1×1 convolution, 96 to 48 channels on 64 pixels, in cache: of the fastest of many calls.
    private func secondsOfAProduct() -> Double {
        let (inputs, outputs, lanes) = (96, 48, 64)
        let buffers = (0..<3).map { _ in AlignedBuffer<Float>(count: inputs * lanes) }
        let offset = AlignedBuffer<Int>(count: 1)
        let weights = PackedWeights(taps: 1, outputs: outputs, inputs: inputs, in: buffers[0], precision: self)
        return (0..<64).map { _ in
            let began = monotonicSeconds()
            for _ in 0..<4 {
                weights.convolve(
                    buffers[1].pointer, stride: lanes, tapOffsets: offset.pointer, lanes: lanes,
                    into: buffers[2].pointer, outputStride: lanes)
            }
            return (monotonicSeconds() - began) / 4
        }.min() ?? 0
    }
}
