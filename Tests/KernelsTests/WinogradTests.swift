import Kernels
import Support
import Testing

/// Problems of at least four rows, some with rows left over.
private let shapes =
    Shape.all.filter { $0.height >= 4 }
    + (4...13).map { height in
        var random = CounterRandom(.synthetic, 83, UInt64(height))
        return Shape(
            height: height, width: 1 + random.below(9), capacity: 5, images: 1 + random.below(5),
            inputs: 1 + random.below(20), outputs: 1 + random.below(20), seed: UInt64(height))
    }

extension Planes {
    /// The largest number everywhere: the precision of Winograd's outputs depends on all six rows.
    fileprivate var leveled: Planes {
        var largest = 0.0
        for i in 0..<count { largest = max(largest, pointer[i]) }
        return mapped { _ in largest }
    }

    /// The first rows, up to a multiple of four.
    fileprivate var fours: Planes {
        let result = Planes(images, channels, height / RowWinograd.rows * RowWinograd.rows, width)
        for n in 0..<images {
            for c in 0..<channels { result.row(n, c, 0).update(from: row(n, c, 0), count: result.height * width) }
        }
        return result
    }
}

@Suite struct WinogradTests {
    @Test(arguments: shapes) func `forward, four rows at a time, is the convolution`(_ shape: Shape) {
        var random = shape.random
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: 9 * shape.inputs * shape.outputs)
        let actual = convolve(input, to: shape.outputs, shape) { $0.packForward(weights.pointer) }
        let expected = convolution(input, weights.pointer, outputs: shape.outputs, kernel: 3)
        #expect(
            largestError(actual, expected.value.fours, magnitude: expected.magnitude.leveled.fours, relative: 2e-6) < 1)
    }

    @Test(arguments: shapes) func `backward, four rows at a time, is the adjoint`(_ shape: Shape) {
        var random = shape.random
        let gradient = Planes(random: &random, shape.images, shape.outputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: 9 * shape.inputs * shape.outputs)
        let actual = convolve(gradient, to: shape.inputs, shape) { $0.packBackward(weights.pointer) }
        let expected = convolutionBackward(gradient, weights.pointer, inputs: shape.inputs, kernel: 3)
        #expect(
            largestError(actual, expected.value.fours, magnitude: expected.magnitude.leveled.fours, relative: 2e-6) < 1)
    }

    private func convolve(_ input: Planes, to outputs: Int, _ shape: Shape, pack: (PackedWeights) -> Void) -> Planes {
        let layout = shape.layout
        let paddedShape = PaddedGroup.Shape(channels: input.channels, layout: layout)
        let space = AlignedBuffer<Float>(count: paddedShape.count)
        let padded = PaddedGroup(paddedShape, in: space)
        let packed = AlignedBuffer<Float>(count: RowWinograd.weightCount(outputs: outputs, inputs: input.channels))
        let winograd = RowWinograd(outputs: outputs, input: paddedShape, in: packed)
        let taps = PackedWeights(
            taps: 9, outputs: outputs, inputs: input.channels, in: AlignedBuffer(count: 9 * outputs * input.channels))
        pack(taps)
        winograd.pack(taps)
        let offsets = AlignedBuffer<Int>(count: 9)
        paddedShape.writeTapOffsets(to: offsets.pointer)
        let scratchCount = RowWinograd.scratchCount(paddedShape, outputs: outputs)
        let scratch = AlignedBuffer<Float>(count: scratchCount + 16)
        scratch.elements.update(repeating: garbage)
        // As in a block, more channels than are written.
        let output = Panels(layout: layout, channels: outputs + 1, images: shape.capacity)
        let pitch = (outputs + 1) * layout.lanes
        for group in 0..<layout.groups(input.images) {
            fill(padded, input, layout, group: group)
            for y in stride(from: 0, through: layout.height - RowWinograd.rows, by: RowWinograd.rows) {
                winograd.convolve(
                    padded, row: y, into: output.panel(group, y), rowPitch: pitch, tapOffsets: offsets.pointer,
                    scratch: scratch.pointer, next: output.panel(group, y), nextCount: pitch, nextPitch: pitch)
            }
        }
        #expect(scratch.elements.suffix(16).allSatisfy { $0 == garbage }, "more scratch than was promised")
        let all = output.planes(images: input.images, channels: outputs + 1)
        let result = Planes(input.images, outputs, all.height, all.width)
        for n in 0..<input.images {
            result.row(n, 0, 0).update(from: all.row(n, 0, 0), count: outputs * all.height * all.width)
            for i in 0..<all.height * all.width { #expect(all.row(n, outputs, 0)[i] == 0) }
        }
        return result.fours
    }

    @Test(arguments: shapes) func `the weight gradient, four rows at a time, is the convolution's`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let lanes = layout.lanes
        let width = (shape.inputs + 15) / 16 * 16
        let rowCount = lanes * width
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let gradient = Planes(random: &random, shape.images, shape.outputs, shape.height, shape.width)
        // The remaining rows are handled elsewhere, so here they have no gradient.
        for n in 0..<shape.images {
            for c in 0..<shape.outputs {
                for y in shape.height / 4 * 4..<shape.height {
                    gradient.row(n, c, y).update(repeating: 0, count: shape.width)
                }
            }
        }
        let panels = Panels(layout: layout, channels: shape.inputs, images: shape.capacity)
        panels.place(input, padding: 0)
        let paddedShape = PaddedGroup.Shape(channels: shape.outputs, layout: layout)
        let space = AlignedBuffer<Float>(count: paddedShape.count)
        let padded = PaddedGroup(paddedShape, in: space)
        let winograd = RowWinogradGradient(inputs: shape.inputs, output: paddedShape)
        let transposed = AlignedBuffer<Float>(count: (layout.height + 2) * rowCount)
        let scratch = AlignedBuffer<Float>(count: winograd.scratchCount + 16)
        let sums = AlignedBuffer<Float>(count: winograd.gradientCount)
        scratch.elements.update(repeating: garbage)
        sums.elements.update(repeating: garbage)
        let taps = sums.pointer + winograd.productCount
        let tapCount = shape.outputs * width
        for i in 0..<9 * tapCount { taps[i] = 1 }
        for group in 0..<layout.groups(shape.images) {
            fill(padded, gradient, layout, group: group)
            for y in 0..<layout.height {
                transposePanel(
                    panels.numbers(group, y), stride: lanes, channels: shape.inputs, lanes: lanes,
                    into: transposed.pointer + (y + 1) * rowCount)
            }
            // In two parts, as two tasks would add them.
            let runs = 0..<layout.height / 4
            for part in [0..<runs.count / 2, runs.count / 2..<runs.count] {
                winograd.add(
                    part.lowerBound * 4..<part.upperBound * 4, transposed: transposed.pointer, padded: padded,
                    scratch: scratch.pointer, to: sums.pointer, accumulate: group > 0 || part.lowerBound > 0)
            }
        }
        winograd.finish(sums.pointer)
        #expect(scratch.elements.suffix(16).allSatisfy { $0 == garbage }, "more scratch than was promised")
        let expected = convolutionWeightGradient(input, gradient, kernel: 3)
        let actual = Planes(shape.outputs, shape.inputs, 3, 3)
        for o in 0..<shape.outputs {
            for i in 0..<shape.inputs {
                // It was added to the previous contents.
                for tap in 0..<9 { actual[o, i, tap / 3, tap % 3] = Double(taps[tap * tapCount + o * width + i]) - 1 }
            }
        }
        #expect(
            largestError(
                actual, expected.value, magnitude: expected.magnitude.leveled.mapped { $0 + 1 }, relative: 2e-6) < 1)
    }
}
