import Kernels
import Support
import Testing

@Suite struct DropoutKernelTests {
    /// Ones after dropout: [channels][lanes], zero or 1 / (1 − probability).
    private func dropped(
        _ keys: [UInt32], channels: Int, stride: Int? = nil, first: UInt32 = 0, step: UInt32 = 1, probability: Double
    ) -> AlignedBuffer<Float> {
        let stride = stride ?? keys.count
        let panel = AlignedBuffer<Float>(count: channels * stride)
        panel.elements.update(repeating: 1)
        dropElements(
            of: panel.pointer, channels: channels, lanes: keys.count, stride: stride, keys: keys, first: first,
            step: step, probability: probability)
        return panel
    }

    private func keys(_ count: Int) -> [UInt32] {
        var random = CounterRandom(.dropout, 5)
        return (0..<count).map { _ in UInt32(truncatingIfNeeded: random.next()) }
    }

    @Test(arguments: [0.1, 0.2, 0.5, 0.9]) func `the fraction that is dropped is the probability`(_ probability: Double)
    {
        let keys = keys(256)
        let panel = dropped(keys, channels: 400, probability: probability)
        #expect(panel.elements.allSatisfy { $0 == 0 || $0 == Float(1 / (1 - probability)) })
        func deviations(_ zeros: Int, of count: Int) -> Double {
            abs(Double(zeros) - probability * Double(count))
                / (Double(count) * probability * (1 - probability)).squareRoot()
        }
        #expect(deviations(panel.elements.count { $0 == 0 }, of: panel.count) < 4)
        // Also in each lane and each channel; and neighbours are dropped independently.
        for lane in 0..<256 {
            #expect(deviations((0..<400).count { panel.pointer[$0 * 256 + lane] == 0 }, of: 400) < 5)
        }
        for c in 0..<400 { #expect(deviations(panel[c * 256..<c * 256 + 256].count { $0 == 0 }, of: 256) < 5) }
        for shift in [1, 256] {
            let both = (0..<panel.count - shift).count { panel.pointer[$0] == 0 && panel.pointer[$0 + shift] == 0 }
            let expected = probability * probability * Double(panel.count - shift)
            #expect(abs(Double(both) - expected) < 5 * (expected * (1 - probability * probability)).squareRoot())
        }
    }

    @Test func `whether an element is dropped depends on its key and its index alone`() {
        let keys = keys(64)
        let whole = dropped(keys, channels: 30, first: 100, step: 7, probability: 0.5)
        let again = dropped(keys, channels: 30, first: 100, step: 7, probability: 0.5)
        #expect(again.elements.elementsEqual(whole.elements))
        // The same lanes in a different order, with a different stride, and starting at a later channel.
        let mirrored = dropped(
            keys.reversed(), channels: 10, stride: 70, first: 100 + 20 * 7, step: 7, probability: 0.5)
        for c in 0..<10 {
            for lane in 0..<64 { #expect(mirrored.pointer[c * 70 + 63 - lane] == whole.pointer[(20 + c) * 64 + lane]) }
            for gap in 64..<70 { #expect(mirrored.pointer[c * 70 + gap] == 1) }
        }
        let other = dropped(keys.map { $0 ^ 1 }, channels: 30, first: 100, step: 7, probability: 0.5)
        let equal = zip(other.elements, whole.elements).count { $0 == $1 }
        #expect(abs(equal - 960) < 120)
    }
}

@Suite struct SGDTests {
    /// PyTorch's `SGD` as documented, in float64.
    private func reference(
        _ weights: inout [Double], _ momentumBuffer: inout [Double], _ gradients: [Double], rate: Double,
        momentum: Double,
        decay: Double, nesterov: Bool
    ) {
        for i in weights.indices {
            let gradient = gradients[i] + decay * weights[i]
            momentumBuffer[i] = momentum * momentumBuffer[i] + gradient
            weights[i] -= rate * (nesterov ? gradient + momentum * momentumBuffer[i] : momentumBuffer[i])
        }
    }

    @Test(arguments: [
        (0, 0.1, false), (0.9, 0, false), (0.9, 0.1, false), (0.9, 0, true), (0.9, 0.1, true), (0, 0, false),
    ])
    func `five steps match PyTorch's`(_ momentum: Double, _ decay: Double, _ nesterov: Bool) {
        for count in [1, 15, 16, 17, 67] {
            var random = CounterRandom(.synthetic, 94, UInt64(count))
            let weights = AlignedBuffer<Float>(random: &random, count: count)
            let momentumBuffer = AlignedBuffer<Float>(count: count)
            var expected = weights.elements.map(Double.init)
            var expectedMomentumBuffer = [Double](repeating: 0, count: count)
            for step in 0..<5 {
                let gradients = AlignedBuffer<Float>(random: &random, count: count, scale: 64)
                let rate = 0.1 / Double(1 + step)
                sgdStep(
                    weights: weights.elements, gradients: gradients.elements, momentumBuffer: momentumBuffer.elements,
                    learningRate: Float(rate), gradientScale: 1 / 64, momentum: Float(momentum),
                    weightDecay: Float(decay),
                    nesterov: nesterov)
                reference(
                    &expected, &expectedMomentumBuffer, gradients.elements.map { Double($0) / 64 }, rate: rate,
                    momentum: momentum, decay: decay, nesterov: nesterov)
            }
            for i in 0..<count {
                #expect(abs(Double(weights.pointer[i]) - expected[i]) < 2e-6)
                #expect(abs(Double(momentumBuffer.pointer[i]) - expectedMomentumBuffer[i]) < 2e-6)
            }
        }
    }

    @Test func `an empty buffer is allowed, and neighbours are not touched`() {
        let empty = AlignedBuffer<Float>(count: 0)
        sgdStep(
            weights: empty.elements, gradients: empty.elements, momentumBuffer: empty.elements, learningRate: 1,
            gradientScale: 1,
            momentum: 0, weightDecay: 0, nesterov: false)
        let weights = AlignedBuffer<Float>(count: 40)
        let momentumBuffer = AlignedBuffer<Float>(count: 40)
        let gradients = AlignedBuffer<Float>(count: 40)
        gradients.elements.update(repeating: 1)
        let range = 3..<22
        sgdStep(
            weights: weights[range], gradients: gradients[range], momentumBuffer: momentumBuffer[range],
            learningRate: 1, gradientScale: 1,
            momentum: 0.5, weightDecay: 0, nesterov: false)
        for i in 0..<40 {
            #expect(
                momentumBuffer.pointer[i] == (range.contains(i) ? 1 : 0)
                    && weights.pointer[i] == -momentumBuffer.pointer[i])
        }
    }
}
