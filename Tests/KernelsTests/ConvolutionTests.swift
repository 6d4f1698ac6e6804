import Kernels
import Support
import Testing

/// Copies a group's images to the interior of a padded group.
func fill(_ padded: PaddedGroup, _ planes: Planes, _ layout: PanelLayout, group: Int) {
    padded.clear()
    for y in 0..<layout.height {
        for c in 0..<planes.channels {
            for lane in 0..<layout.lanes {
                guard let pixel = layout.pixel(group, lane: lane, images: planes.images) else { continue }
                padded.interior(y)[c * padded.stride + lane] = Float(planes[pixel.image, c, y, pixel.x])
            }
        }
    }
}

@Suite struct ConvolutionTests {
    @Test(arguments: Shape.all) func `1×1 forward is the convolution`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: shape.inputs * shape.outputs)
        // As in a block, the panel has more channels than the product reads and writes.
        let panels = Panels(layout: layout, channels: shape.inputs + 3, images: shape.capacity)
        let output = Panels(layout: layout, channels: shape.outputs + 2, images: shape.capacity)
        panels.place(input)
        let packed = PackedWeights(
            taps: 1, outputs: shape.outputs, inputs: shape.inputs, in: AlignedBuffer(count: weights.count))
        packed.packForward(weights.pointer)
        var offset = 0
        for group in 0..<layout.groups(shape.images) {
            for y in 0..<shape.height {
                packed.convolve(
                    panels.panel(group, y), stride: layout.lanes, tapOffsets: &offset, lanes: layout.lanes,
                    into: output.panel(group, y) + layout.lanes, outputStride: layout.lanes, next: panels.panel(0, 0),
                    nextCount: shape.inputs * layout.lanes)
            }
        }
        let expected = convolution(input, weights.pointer, outputs: shape.outputs, kernel: 1)
        let all = output.planes(images: shape.images, channels: shape.outputs + 2)
        let actual = Planes(shape.images, shape.outputs, shape.height, shape.width)
        for n in 0..<shape.images {
            actual.row(n, 0, 0).update(from: all.row(n, 1, 0), count: shape.outputs * shape.height * shape.width)
            for y in 0..<shape.height {
                for x in 0..<shape.width { #expect(all[n, 0, y, x] == 0 && all[n, shape.outputs + 1, y, x] == 0) }
            }
        }
        #expect(largestError(actual, expected.value, magnitude: expected.magnitude) < 1)
    }

    @Test(arguments: Shape.all) func `1×1 backward is the adjoint`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let gradient = Planes(random: &random, shape.images, shape.outputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: shape.inputs * shape.outputs)
        let panels = Panels(layout: layout, channels: shape.outputs, images: shape.capacity)
        let output = Panels(layout: layout, channels: shape.inputs, images: shape.capacity)
        panels.place(gradient)
        let packed = PackedWeights(
            taps: 1, outputs: shape.inputs, inputs: shape.outputs, in: AlignedBuffer(count: weights.count))
        packed.packBackward(weights.pointer)
        var offset = 0
        for group in 0..<layout.groups(shape.images) {
            for y in 0..<shape.height {
                packed.convolve(
                    panels.panel(group, y), stride: layout.lanes, tapOffsets: &offset, lanes: layout.lanes,
                    into: output.panel(group, y), outputStride: layout.lanes)
            }
        }
        let expected = convolutionBackward(gradient, weights.pointer, inputs: shape.inputs, kernel: 1)
        let actual = output.planes(images: shape.images, channels: shape.inputs)
        #expect(largestError(actual, expected.value, magnitude: expected.magnitude) < 1)
    }

    @Test(arguments: Shape.all) func `3×3 forward over a padded group is the convolution`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: 9 * shape.inputs * shape.outputs)
        let output = Panels(layout: layout, channels: shape.outputs, images: shape.capacity)
        convolve3x3(input, shape.outputs, layout, into: output) { $0.packForward(weights.pointer) }
        let expected = convolution(input, weights.pointer, outputs: shape.outputs, kernel: 3)
        let actual = output.planes(images: shape.images, channels: shape.outputs)
        #expect(largestError(actual, expected.value, magnitude: expected.magnitude) < 1)
    }

    @Test(arguments: Shape.all) func `3×3 backward over a padded group is the adjoint`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let gradient = Planes(random: &random, shape.images, shape.outputs, shape.height, shape.width)
        let weights = AlignedBuffer<Float>(random: &random, count: 9 * shape.inputs * shape.outputs)
        let output = Panels(layout: layout, channels: shape.inputs, images: shape.capacity)
        convolve3x3(gradient, shape.inputs, layout, into: output) { $0.packBackward(weights.pointer) }
        let expected = convolutionBackward(gradient, weights.pointer, inputs: shape.inputs, kernel: 3)
        let actual = output.planes(images: shape.images, channels: shape.inputs)
        #expect(largestError(actual, expected.value, magnitude: expected.magnitude) < 1)
    }

    private func convolve3x3(
        _ input: Planes, _ outputs: Int, _ layout: PanelLayout, into output: Panels, pack: (PackedWeights) -> Void
    ) {
        let packed = PackedWeights(
            taps: 9, outputs: outputs, inputs: input.channels, in: AlignedBuffer(count: 9 * outputs * input.channels))
        pack(packed)
        let paddedShape = PaddedGroup.Shape(channels: input.channels, layout: layout)
        let space = AlignedBuffer<Float>(count: paddedShape.count)
        let padded = PaddedGroup(paddedShape, in: space)
        let offsets = AlignedBuffer<Int>(count: 9)
        paddedShape.writeTapOffsets(to: offsets.pointer)
        for group in 0..<layout.groups(input.images) {
            fill(padded, input, layout, group: group)
            for y in 0..<layout.height {
                for tap in 0..<9 {
                    #expect(padded.tap(tap / 3, tap % 3, row: y) == padded.tap(0, 0, row: y) + offsets.pointer[tap])
                }
                packed.convolve(
                    padded.tap(0, 0, row: y), stride: padded.stride, tapOffsets: offsets.pointer, lanes: layout.lanes,
                    into: output.panel(group, y), outputStride: layout.lanes)
            }
        }
    }

    @Test(arguments: Shape.all) func `the transpose has each lane's channels and zeros up to a whole vector`(
        _ shape: Shape
    ) {
        var random = shape.random
        let lanes = shape.layout.lanes
        let stride = lanes + shape.layout.interleave
        let channels = shape.inputs
        let panel = AlignedBuffer<Float>(random: &random, count: channels * stride)
        let width = (channels + 15) / 16 * 16
        let transposed = AlignedBuffer<Float>(random: &random, count: lanes * width + 16)
        let behind = Array(transposed.elements.suffix(16))
        transposePanel(
            PanelNumbers(panel.pointer), stride: stride, channels: channels, lanes: lanes, into: transposed.pointer)
        var isRight = true
        for lane in 0..<lanes {
            for c in 0..<width {
                isRight =
                    isRight
                    && transposed.pointer[lane * width + c] == (c < channels ? panel.pointer[c * stride + lane] : 0)
            }
        }
        #expect(isRight)
        #expect(Array(transposed.elements.suffix(16)) == behind)
    }

    @Test func `a matrix of any size is transposed, and nothing around it is touched`() {
        var random = CounterRandom(.synthetic, 84)
        for rows in [1, 3, 9, 15, 16, 17, 33] {
            for columns in [1, 5, 15, 16, 17, 31, 48, 50] {
                let fromStride = columns + random.below(3)
                let toStride = rows + random.below(3)
                let from = AlignedBuffer<Float>(random: &random, count: rows * fromStride)
                let to = AlignedBuffer<Float>(count: columns * toStride + 16)
                to.elements.update(repeating: garbage)
                transposeMatrix(
                    from.pointer, rows: rows, columns: columns, fromStride: fromStride, to: to.pointer,
                    toStride: toStride)
                var isRight = to.elements.suffix(16).allSatisfy { $0 == garbage }
                for i in 0..<columns * toStride {
                    let row = i % toStride
                    let expected = row < rows ? from.pointer[row * fromStride + i / toStride] : garbage
                    isRight = isRight && to.pointer[i] == expected
                }
                #expect(isRight, "\(rows)×\(columns)")
            }
        }
    }

    @Test(arguments: Shape.all) func `the weight gradient of 3×3 is the convolution's`(_ shape: Shape) {
        var random = shape.random
        let layout = shape.layout
        let lanes = layout.lanes
        let width = (shape.inputs + 15) / 16 * 16
        let input = Planes(random: &random, shape.images, shape.inputs, shape.height, shape.width)
        let gradient = Planes(random: &random, shape.images, shape.outputs, shape.height, shape.width)
        let panels = Panels(layout: layout, channels: shape.inputs, images: shape.capacity)
        panels.place(input)
        let paddedShape = PaddedGroup.Shape(channels: shape.outputs, layout: layout)
        let space = AlignedBuffer<Float>(count: paddedShape.count)
        let padded = PaddedGroup(paddedShape, in: space)
        let transposed = AlignedBuffer<Float>(count: layout.height * lanes * width)
        let sums = AlignedBuffer<Float>(random: &random, count: 9 * shape.outputs * width)
        let before = Array(sums.elements)
        for group in 0..<layout.groups(shape.images) {
            fill(padded, gradient, layout, group: group)
            for y in 0..<layout.height {
                transposePanel(
                    panels.numbers(group, y), stride: lanes, channels: shape.inputs, lanes: lanes,
                    into: transposed.pointer + y * lanes * width)
                // Lanes of missing images meet zero gradients, but those of the tail meet the last column's gradient.
                let tail = transposed.pointer + (y * lanes + layout.validLanes) * width
                tail.update(repeating: 0, count: (lanes - layout.validLanes) * width)
            }
            for tap in 0..<9 {
                addWeightGradient(
                    transposed: transposed.pointer, width: width, transposedRow: lanes * width,
                    other: padded.tap(2 - tap / 3, 2 - tap % 3, row: 0), otherStride: padded.stride,
                    otherRow: padded.rowStride, others: shape.outputs, lanes: lanes, rows: layout.height,
                    to: sums.pointer + tap * shape.outputs * width, accumulate: true)
            }
        }
        let expected = convolutionWeightGradient(input, gradient, kernel: 3)
        let actual = Planes(shape.outputs, shape.inputs, 3, 3)
        let magnitude = expected.magnitude.mapped { $0 + 1 }
        var paddingIsUntouched = true
        for tap in 0..<9 {
            for o in 0..<shape.outputs {
                for m in 0..<width {
                    let at = (tap * shape.outputs + o) * width + m
                    let sum = sums.pointer[at]
                    if m < shape.inputs {
                        // It was added to the previous contents.
                        actual[o, m, tap / 3, tap % 3] = Double(sum) - Double(before[at])
                    } else {
                        paddingIsUntouched = paddingIsUntouched && sum == before[at]
                    }
                }
            }
        }
        #expect(largestError(actual, expected.value, magnitude: magnitude) < 1)
        #expect(paddingIsUntouched)
    }

    @Test func `weight gradients are right for every remainder of a tile`() {
        var random = CounterRandom(.synthetic, 79)
        for vectors in 1...5 {
            for others in 1...27 {
                let width = 16 * vectors
                let lanes = 16
                let rows = 2
                let transposed = AlignedBuffer<Float>(random: &random, count: rows * lanes * width)
                let other = AlignedBuffer<Float>(random: &random, count: rows * others * lanes)
                let gradient = AlignedBuffer<Float>(count: others * width + 16)
                gradient[0..<others * width].update(repeating: garbage)
                addWeightGradient(
                    transposed: transposed.pointer, width: width, transposedRow: lanes * width, other: other.pointer,
                    otherStride: lanes, otherRow: others * lanes, others: others, lanes: lanes, rows: rows,
                    to: gradient.pointer, accumulate: false)
                var worst = 0.0
                for o in 0..<others {
                    for m in stride(from: random.below(5), to: width, by: 5) {
                        var sum = 0.0
                        for row in 0..<rows {
                            for lane in 0..<lanes {
                                sum +=
                                    Double(transposed.pointer[(row * lanes + lane) * width + m])
                                    * Double(other.pointer[(row * others + o) * lanes + lane])
                            }
                        }
                        worst = max(worst, abs(sum - Double(gradient.pointer[o * width + m])))
                    }
                }
                #expect(worst < 1e-5, "\(vectors) vectors by \(others)")
                #expect(gradient.elements.suffix(16).allSatisfy { $0 == 0 })
            }
        }
    }

    @Test func `a NaN reaches the outputs that read it and no others`() {
        var random = CounterRandom(.synthetic, 80)
        let weights = AlignedBuffer<Float>(random: &random, count: 20 * 30)
        let input = AlignedBuffer<Float>(random: &random, count: 20 * 48)
        let output = AlignedBuffer<Float>(count: 30 * 48)
        input.pointer[7 * 48 + 33] = .nan
        let packed = PackedWeights(taps: 1, outputs: 30, inputs: 20, in: AlignedBuffer(count: weights.count))
        packed.packForward(weights.pointer)
        var offset = 0
        packed.convolve(
            input.pointer, stride: 48, tapOffsets: &offset, lanes: 48, into: output.pointer, outputStride: 48)
        for i in 0..<output.count { #expect(output.pointer[i].isNaN == (i % 48 == 33)) }
    }
}

@Suite struct PatchTests {
    @Test(
        arguments: [(3, 1, 1), (3, 1, 8), (3, 1, 9), (7, 2, 1), (7, 2, 2), (7, 2, 9), (7, 2, 14), (7, 2, 32)], [1, 5])
    func `patches are the pixels under the kernel and zero outside`(
        _ shape: (kernel: Int, stride: Int, size: Int), _ images: Int
    ) {
        let (kernel, stride, size) = shape
        var random = CounterRandom(.synthetic, 81, UInt64(size))
        let output = (size - 1) / stride + 1
        let planes = Planes(random: &random, images, 3, size, size)
        let floats = planes.floats
        let layout = PanelLayout(height: output, width: output, images: 4)
        let patches = AlignedBuffer<Float>(random: &random, count: 3 * kernel * kernel * layout.lanes)
        let scratch = AlignedBuffer<Float>(count: patchScratchCount(layout, kernel: kernel))
        for group in 0..<layout.groups(images) {
            let first = group * layout.interleave
            for y in 0..<output {
                writePatches(
                    of: floats.pointer + first * 3 * size * size, count: min(layout.interleave, images - first),
                    channels: 3, size: size, kernel: kernel, stride: stride, y: y, layout: layout,
                    into: patches.pointer, scratch: scratch.pointer)
                var isRight = true
                for row in 0..<3 * kernel * kernel {
                    let c = row / (kernel * kernel)
                    let fromY = y * stride + row / kernel % kernel - kernel / 2
                    for lane in 0..<layout.lanes {
                        var expected = 0.0
                        if let pixel = layout.pixel(group, lane: lane, images: images) {
                            let fromX = pixel.x * stride + row % kernel - kernel / 2
                            if (0..<size).contains(fromY) && (0..<size).contains(fromX) {
                                expected = planes[pixel.image, c, fromY, fromX]
                            }
                        }
                        isRight = isRight && Double(patches.pointer[row * layout.lanes + lane]) == expected
                    }
                }
                #expect(isRight, "group \(group), row \(y)")
            }
        }
    }

    @Test(arguments: [(3, 1, 9), (7, 2, 13)])
    func `a product over patches, with three kernel rows as a tap, is the convolution`(
        _ kernel: Int, _ stride: Int, _ size: Int
    ) {
        var random = CounterRandom(.synthetic, 82)
        let images = 3
        let outputs = 22
        let output = (size - 1) / stride + 1
        let planes = Planes(random: &random, images, 3, size, size)
        let floats = planes.floats
        let weights = AlignedBuffer<Float>(random: &random, count: outputs * 3 * kernel * kernel)
        let layout = PanelLayout(height: output, width: output, images: images)
        let lanes = layout.lanes
        let panels = Panels(layout: layout, channels: outputs, images: images)
        let packed = PackedWeights(
            taps: kernel, outputs: outputs, inputs: 3 * kernel, in: AlignedBuffer(count: weights.count))
        packed.packPatches(weights.pointer)
        let offsets = (0..<kernel).map { $0 * 3 * kernel * lanes }
        let patches = AlignedBuffer<Float>(count: 3 * kernel * kernel * lanes)
        let scratch = AlignedBuffer<Float>(count: patchScratchCount(layout, kernel: kernel))
        for group in 0..<layout.groups(images) {
            let first = group * layout.interleave
            for y in 0..<output {
                writePatches(
                    of: floats.pointer + first * 3 * size * size, count: min(layout.interleave, images - first),
                    channels: 3, size: size, kernel: kernel, stride: stride, y: y, layout: layout,
                    into: patches.pointer, scratch: scratch.pointer)
                packed.convolve(
                    patches.pointer, stride: lanes, tapOffsets: offsets, lanes: lanes, into: panels.panel(group, y),
                    outputStride: lanes)
            }
        }
        let expected = convolution(planes, weights.pointer, outputs: outputs, kernel: kernel, stride: stride)
        let actual = panels.planes(images: images, channels: outputs)
        #expect(largestError(actual, expected.value, magnitude: expected.magnitude) < 1)
    }
}
