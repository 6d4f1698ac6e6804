import Kernels
import Support
import Testing

/// The nearest bfloat16 number, ties to even.
private func rounded(_ value: Double) -> Double {
    let bits = Float(value).bitPattern
    return Double(Float(bitPattern: (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000))
}

private func rounded(_ weights: AlignedBuffer<Float>) -> AlignedBuffer<Float> {
    let result = AlignedBuffer<Float>(count: weights.count)
    for i in 0..<weights.count { result.pointer[i] = Float(rounded(Double(weights.pointer[i]))) }
    return result
}

/// A 3×3 product in bfloat16 over a padded group of pairs of channels.
private func convolve3x3(
    _ input: Planes, _ outputs: Int, _ layout: PanelLayout, into output: Panels, pack: (PackedWeights) -> Void
) {
    let precision = Precision.bfloat16
    let panels = Panels(layout: layout, channels: input.channels, images: input.images)
    panels.place(input, padding: 0)
    let packed = PackedWeights(
        taps: 9, outputs: outputs, inputs: input.channels, in: AlignedBuffer(count: 9 * outputs * input.channels),
        precision: precision)
    pack(packed)
    let shape = PaddedGroup.Shape(channels: precision.elements(input.channels), layout: layout)
    let space = AlignedBuffer<Float>(count: shape.count)
    let padded = PaddedGroup(shape, in: space)
    let offsets = AlignedBuffer<Int>(count: 9)
    defer { withExtendedLifetime(space) {} }
    shape.writeTapOffsets(to: offsets.pointer)
    for group in 0..<layout.groups(input.images) {
        padded.clear()
        for y in 0..<layout.height {
            writeChannelPairs(
                panels.panel(group, y), stride: layout.lanes, channels: input.channels, lanes: layout.lanes,
                into: padded.interior(y), pairsStride: padded.stride)
        }
        for y in 0..<layout.height {
            packed.convolve(
                padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: offsets.pointer, lanes: layout.lanes,
                into: output.panel(group, y), outputStride: layout.lanes)
        }
    }
}

@Suite struct BFloat16Tests {
    @Test func `rounding is to nearest, ties to even, and NaN stays NaN`() {
        let values: [Float] = [
            0, -0.0, 1, -1, 1.00390625, 1.01171875, 1.0039063, 3.3895314e38, .greatestFiniteMagnitude, .infinity,
            -.infinity, .nan,
            Float(bitPattern: 0xFFFF_FFFF), -1e30, 1e-30, 0.1,
        ]
        let panel = AlignedBuffer<Float>(count: 16)
        let pairs = AlignedBuffer<Float>(count: 16)
        for (i, value) in values.enumerated() { panel.pointer[i] = value }
        writeChannelPairs(panel.pointer, stride: 16, channels: 1, lanes: 16, into: pairs.pointer, pairsStride: 16)
        for (i, value) in values.enumerated() {
            let bits = pairs.pointer[i].bitPattern
            let found = Float(bitPattern: bits << 16)
            #expect(bits >> 16 == 0, "there is no second channel")
            #expect(value.isNaN ? found.isNaN : Double(found) == rounded(Double(value)), "\(value): \(found)")
        }
    }

    @Test(arguments: Shape.all) func `1×1 is the convolution of rounded factors`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: shape.inputs * shape.outputs)
        let panels = Panels(layout: layout, channels: shape.inputs, images: shape.capacity)
        let output = Panels(layout: layout, channels: shape.outputs, images: shape.capacity)
        panels.place(input)
        let packed = PackedWeights(
            taps: 1, outputs: shape.outputs, inputs: shape.inputs, in: AlignedBuffer(count: weights.count),
            precision: .bfloat16)
        packed.packForward(weights.pointer)
        // Weights of shape [inputs][outputs], as for the gradient.
        let transposed = AlignedBuffer<Float>(count: weights.count)
        transposeMatrix(
            weights.pointer, rows: shape.outputs, columns: shape.inputs, fromStride: shape.inputs,
            to: transposed.pointer, toStride: shape.outputs)
        let pairs = PackedWeights(
            pairsOf: transposed.pointer, outputs: shape.outputs, inputs: shape.inputs,
            in: AlignedBuffer(count: weights.count + shape.outputs))
        let second = Panels(layout: layout, channels: shape.outputs, images: shape.capacity)
        var offset = 0
        for group in 0..<layout.groups(shape.images) {
            for y in 0..<shape.height {
                // In place, as in a step.
                let panel = panels.panel(group, y)
                writeChannelPairs(
                    panel, stride: layout.lanes, channels: shape.inputs, lanes: layout.lanes, into: panel,
                    pairsStride: layout.lanes)
                for (packed, output) in [(packed, output), (pairs, second)] {
                    packed.convolve(
                        panel, stride: layout.lanes, tapOffsets: &offset, lanes: layout.lanes,
                        into: output.panel(group, y), outputStride: layout.lanes)
                }
            }
        }
        let factors = rounded(weights)
        let expected = convolution(input.mapped(rounded), factors.pointer, outputs: shape.outputs, kernel: 1)
        for output in [output, second] {
            let actual = output.planes(images: shape.images, channels: shape.outputs)
            #expect(largestError(actual, expected.value, magnitude: expected.magnitude) < 1)
        }
    }

    @Test(arguments: Shape.all) func `3×3 forward and backward are those of rounded factors`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let gradient = Planes(random: &random, shape.images, shape.outputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: 9 * shape.inputs * shape.outputs)
        let output = Panels(layout: layout, channels: shape.outputs, images: shape.capacity)
        convolve3x3(input, shape.outputs, layout, into: output) { $0.packForward(weights.pointer) }
        let factors = rounded(weights)
        let forward = convolution(input.mapped(rounded), factors.pointer, outputs: shape.outputs, kernel: 3)
        #expect(
            largestError(
                output.planes(images: shape.images, channels: shape.outputs), forward.value,
                magnitude: forward.magnitude) < 1)
        let carried = Panels(layout: layout, channels: shape.inputs, images: shape.capacity)
        convolve3x3(gradient, shape.inputs, layout, into: carried) { $0.packBackward(weights.pointer) }
        let backward = convolutionBackward(gradient.mapped(rounded), factors.pointer, inputs: shape.inputs, kernel: 3)
        let actual = carried.planes(images: shape.images, channels: shape.inputs)
        #expect(largestError(actual, backward.value, magnitude: backward.magnitude) < 1)
    }

    @Test(arguments: Shape.all) func `the weight gradient of 3×3 is that of rounded factors`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let lanes = layout.lanes
        let width = (shape.inputs + 15) / 16 * 16
        let rowCount = lanes / 2 * width
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let gradient = Planes(random: &random, shape.images, shape.outputs, shape.height, shape.width)
        func panels(_ planes: Planes) -> Panels {
            let panels = Panels(
                layout: layout, channels: planes.channels, images: shape.capacity, precision: .bfloat16)
            panels.place(planes, padding: 0)
            return panels
        }
        let (panels, gradients) = (panels(input), panels(gradient))
        let paddedShape = PaddedGroup.Shape(channels: shape.outputs, layout: layout)
        let space = AlignedBuffer<Float>(count: (paddedShape.count + 1) / 2)
        let padded = PaddedBFloat16Group(paddedShape, in: space)
        defer { withExtendedLifetime(space) {} }
        let transposed = AlignedBuffer<Float>(count: layout.height * rowCount)
        let sums = AlignedBuffer<Float>(count: 9 * shape.outputs * width)
        sums.elements.update(repeating: garbage)
        for group in 0..<layout.groups(shape.images) {
            padded.clear()
            for y in 0..<layout.height {
                for c in 0..<shape.outputs {
                    (padded.interior(y) + c * padded.stride).update(
                        from: gradients.numbers(group, y).bfloat16 + c * lanes, count: lanes)
                }
                transposePanel(
                    panels.numbers(group, y), stride: lanes, channels: shape.inputs, lanes: lanes,
                    into: transposed.pointer + y * rowCount)
            }
            for tap in 0..<9 {
                addWeightGradient(
                    transposed: transposed.pointer, width: width, transposedRow: rowCount,
                    other: padded.tap(2 - tap / 3, 2 - tap % 3, row: 0), otherStride: padded.stride,
                    otherRow: padded.rowStride, others: shape.outputs, lanes: lanes, rows: layout.height,
                    to: sums.pointer + tap * shape.outputs * width, accumulate: group > 0)
            }
        }
        let expected = convolutionWeightGradient(input.mapped(rounded), gradient.mapped(rounded), kernel: 3)
        let actual = Planes(shape.outputs, shape.inputs, 3, 3)
        for tap in 0..<9 {
            for o in 0..<shape.outputs {
                for m in 0..<shape.inputs {
                    actual[o, m, tap / 3, tap % 3] = Double(sums.pointer[(tap * shape.outputs + o) * width + m])
                }
            }
        }
        #expect(largestError(actual, expected.value, magnitude: expected.magnitude.mapped { $0 + 1 }) < 1)
    }

    @Test(arguments: Shape.all) func `an activation of stored numbers is that in float32, rounded`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let (lanes, valid) = (layout.lanes, layout.validLanes)
        let channels = shape.inputs
        let affine = ChannelAffine(channels: channels)
        for c in 0..<channels {
            (affine.scale.pointer[c], affine.shift.pointer[c]) = (random.uniform(-2, 2), random.uniform(-1, 1))
        }
        let given = AlignedBuffer<Float>(random: &random, count: channels * lanes)
        let panel = rounded(given)
        let space = AlignedBuffer<Float>(count: channels * lanes)
        let stored = PanelNumbers(in: space, .bfloat16)
        stored.store(given.pointer, channels: channels, lanes: lanes, stride: lanes)
        let activation = AlignedBuffer<Float>(count: channels * lanes)
        let pairs = AlignedBuffer<Float>(count: channels * lanes)
        let expected = AlignedBuffer<Float>(count: channels * lanes)
        affine.reluPanel(
            PanelNumbers(panel.pointer), lanes: lanes, valid: valid, into: activation.pointer, outputStride: lanes)
        affine.reluPanel(stored, lanes: lanes, valid: valid, into: pairs.pointer, outputStride: lanes)
        writeChannelPairs(
            activation.pointer, stride: lanes, channels: channels, lanes: lanes, into: expected.pointer,
            pairsStride: lanes)
        #expect(pairs.elements.map(\.bitPattern) == expected.elements.map(\.bitPattern))
        // One number per lane, and pairs of channels made of these.
        let output = bfloat16Numbers(in: pairs)
        affine.reluPanel(stored.bfloat16, lanes: lanes, valid: valid, into: output)
        #expect(
            (0..<channels * lanes).allSatisfy {
                Double(Float(bitPattern: UInt32(output[$0]) << 16)) == rounded(Double(activation.pointer[$0]))
            })
        writeChannelPairs(
            output, stride: lanes, channels: channels, lanes: lanes, into: activation.pointer, pairsStride: lanes)
        let count = Precision.bfloat16.elements(channels) * lanes
        #expect(activation.elements[..<count].map(\.bitPattern) == expected.elements[..<count].map(\.bitPattern))
        withExtendedLifetime((space, pairs)) {}
    }

    @Test(arguments: Shape.all) func `the sums of a stored panel are those of its rounded numbers`(_ shape: Shape) {
        var random = shape.random
        let channels = shape.inputs
        let values = Planes(random: &random, shape.images, channels, shape.height, shape.width).mapped { $0 + 3 }
        let panels = Panels(layout: shape.layout, channels: channels, images: shape.capacity, precision: .bfloat16)
        panels.place(values)
        let featureMap = shape.featureMap
        let scratch = ReductionScratch(workers: 1)
        scratch.taskCount = 1
        let sums = ChannelSums(channels: channels, in: scratch)
        scratch.allocate()
        let partial = sums.begin(task: 0, worker: 0)
        for group in 0..<featureMap.groups {
            for y in 0..<shape.height {
                addSums(panels.numbers(group, y), lanes: shape.layout.lanes, mask: featureMap.mask(group), to: partial)
            }
        }
        partial.flushValues()
        sums.finish()
        let stored = panels.planes(images: shape.images, channels: channels)
        #expect((0..<values.count).allSatisfy { stored.pointer[$0] == rounded(values.pointer[$0]) })
        for c in 0..<channels {
            var (sum, square) = (0.0, 0.0)
            for n in 0..<shape.images {
                for i in 0..<shape.height * shape.width {
                    let value = stored.row(n, c, 0)[i]
                    (sum, square) = (sum + value, square + value * value)
                }
            }
            #expect(abs(sums.sum[c] - sum) <= 1e-12 * sum && abs(sums.productSum[c] - square) <= 1e-12 * square)
        }
    }
}
