import Kernels
import Support
import Testing

/// A panel of one group: random values, an affine function and the mask of the shape's last group.
private struct PanelCase {
    let channels: Int, lanes: Int, valid: Int
    let values: AlignedBuffer<Float>
    let affine: ChannelAffine
    let mask: UnsafePointer<Float>?
    /// Keeps the mask alive.
    let featureMap: FeatureMap
    var random: CounterRandom

    init(_ shape: Shape) {
        random = shape.random
        featureMap = shape.featureMap
        (channels, lanes, valid) = (shape.inputs, shape.layout.lanes, shape.layout.validLanes)
        values = AlignedBuffer(random: &random, count: channels * lanes, scale: 2)
        affine = ChannelAffine(channels: channels)
        for c in 0..<channels {
            affine.scale.pointer[c] = random.uniform(-2, 2)
            affine.shift.pointer[c] = random.uniform(-1, 1)
        }
        mask = featureMap.mask(featureMap.groups - 1)
    }

    func value(_ c: Int, _ lane: Int) -> Double { Double(values.pointer[c * lanes + lane]) }
    func affine(_ c: Int, _ lane: Int) -> Double {
        Double(affine.scale.pointer[c]) * value(c, lane) + Double(affine.shift.pointer[c])
    }
    func isLive(_ lane: Int) -> Bool { mask.map { $0[lane] == 1 } ?? true }
}

/// Sums of a single worker.
private func channelSums(_ channels: Int, tasks: Int = 1) -> ChannelSums {
    let space = ReductionScratch(workers: 1)
    space.taskCount = tasks
    let sums = ChannelSums(channels: channels, in: space)
    space.allocate()
    return sums
}

@Suite struct NormKernelTests {
    @Test(arguments: Shape.all) func `affine and ReLU, with zeros in the padding tail and nothing between rows`(
        _ shape: Shape
    ) {
        let panel = PanelCase(shape)
        let stride = panel.lanes + 3
        let output = AlignedBuffer<Float>(count: panel.channels * stride)
        output.elements.update(repeating: garbage)
        panel.affine.reluPanel(
            PanelNumbers(panel.values.pointer), lanes: panel.lanes, valid: panel.valid, into: output.pointer,
            outputStride: stride)
        for c in 0..<panel.channels {
            for i in 0..<stride {
                let value = Double(output.pointer[c * stride + i])
                guard i < panel.lanes else {
                    #expect(value == Double(garbage))
                    continue
                }
                let expected = i < panel.valid ? max(0, panel.affine(c, i)) : 0
                #expect(abs(value - expected) < 1e-6)
            }
        }
    }

    @Test func `ReLU preserves infinity, zero and NaN`() {
        let input = AlignedBuffer<Float>(count: 32)
        let output = AlignedBuffer<Float>(count: 32)
        let affine = ChannelAffine(channels: 1)
        affine.scale.pointer[0] = 1
        for (i, value) in [Float.nan, -.nan, .infinity, -.infinity, -0.0, 0, -1, 1].enumerated() {
            input.pointer[i] = value
        }
        affine.reluPanel(PanelNumbers(input.pointer), lanes: 32, valid: 32, into: output.pointer, outputStride: 32)
        #expect(
            output.pointer[0].isNaN && output.pointer[1].isNaN && output.pointer[2] == .infinity
                && output.pointer[3] == 0)
        #expect(output.elements[4...].elementsEqual([0, 0, 0, 1] + [Float](repeating: 0, count: 24)))
        output.elements.update(repeating: 2)
        addAffineReLU(PanelNumbers(input.pointer), affine, lanes: 32, to: output.pointer)
        #expect(
            output.pointer[0].isNaN && output.pointer[1].isNaN && output.pointer[2] == .infinity
                && output.pointer[3] == 2)
        #expect(output.elements[4...].elementsEqual([2, 2, 2, 3] + [Float](repeating: 2, count: 24)))
    }

    @Test(arguments: Shape.all) func `rows of a global pool add up`(_ shape: Shape) {
        let panel = PanelCase(shape)
        let sums = AlignedBuffer<Float>(count: panel.channels * panel.lanes)
        for _ in 0..<3 {
            addAffineReLU(PanelNumbers(panel.values.pointer), panel.affine, lanes: panel.lanes, to: sums.pointer)
        }
        for c in 0..<panel.channels {
            for lane in 0..<panel.lanes {
                #expect(abs(Double(sums.pointer[c * panel.lanes + lane]) - 3 * max(0, panel.affine(c, lane))) < 3e-6)
            }
        }
    }

    @Test(arguments: Shape.all) func `sums have float64 precision with a mean a thousand deviations away`(
        _ shape: Shape
    ) {
        var random = shape.random
        let channels = shape.inputs
        let panels = Panels(layout: shape.layout, channels: channels, images: shape.capacity)
        let values = Planes(random: &random, shape.images, channels, shape.height, shape.width).mapped {
            Double(Float(1000 + $0))
        }
        panels.place(values)
        let featureMap = shape.featureMap
        let tasks = featureMap.tasks(RowUnits(height: shape.height))
        let sums = channelSums(channels, tasks: tasks.count)
        // Twice, since the first pass must not affect the second.
        for _ in 0..<2 {
            for task in 0..<tasks.count {
                let partial = sums.begin(task: task, worker: 0)
                for group in tasks.groups(of: task) {
                    for y in tasks.rows(of: task) {
                        addSums(
                            panels.numbers(group, y), lanes: shape.layout.lanes, mask: featureMap.mask(group),
                            to: partial)
                    }
                    partial.flushValues()
                }
                partial.flushValues()
            }
            sums.finish()
        }
        for c in 0..<channels {
            var sum = 0.0
            var square = 0.0
            for n in 0..<shape.images {
                for i in 0..<shape.height * shape.width {
                    let value = values.row(n, c, 0)[i]
                    sum += value
                    square += value * value
                }
            }
            #expect(abs(sums.sum[c] - sum) <= 1e-14 * sum && abs(sums.productSum[c] - square) <= 1e-14 * square)
            #expect(sums.all[c] == sums.sum[c] && sums.all[channels + c] == sums.productSum[c])
        }
        // Values are unchanged and padding lanes are zero.
        for group in 0..<featureMap.groups {
            for i in 0..<channels * shape.layout.lanes {
                let lane = i % shape.layout.lanes
                let pixel = shape.layout.pixel(group, lane: lane, images: shape.images)
                let expected = pixel.map { values[$0.image, i / shape.layout.lanes, 0, $0.x] } ?? 0
                #expect(Double(panels.panel(group, 0)[i]) == expected)
            }
        }
    }

    @Test func `the sums give the variance of values far from zero`() {
        var random = CounterRandom(.synthetic, 90)
        let lanes = 32
        let rows = 64
        let sums = channelSums(1)
        let partial = sums.begin(task: 0, worker: 0)
        let row = AlignedBuffer<Float>(count: lanes)
        var all: [Double] = []
        for _ in 0..<rows {
            for i in 0..<lanes { row.pointer[i] = 1000 + Float(random.normal()) }
            all += row.elements.map(Double.init)
            addSums(PanelNumbers(row.pointer), lanes: lanes, mask: nil, to: partial)
            partial.flushValues()
        }
        sums.finish()
        let count = Double(all.count)
        let mean = all.reduce(0, +) / count
        let variance = all.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
        let found = sums.productSum[0] / count - (sums.sum[0] / count) * (sums.sum[0] / count)
        #expect(abs(found / variance - 1) < 1e-8)
    }

    /// Both forms of ReLU's backward against the definition; with `weight` nil the one in place.
    private func checkReluBackward(_ shape: Shape, into weight: Float?, accumulate: Bool) {
        var panel = PanelCase(shape)
        let lanes = panel.lanes
        let channels = panel.channels
        let gradient = AlignedBuffer<Float>(random: &panel.random, count: channels * lanes)
        let inverse = AlignedBuffer<Float>(random: &panel.random, count: channels)
        let offset = AlignedBuffer<Float>(random: &panel.random, count: channels)
        let weights = AlignedBuffer<Float>(random: &panel.random, count: channels)
        let into = AlignedBuffer<Float>(random: &panel.random, count: channels * lanes)
        // The ReLU is inactive exactly at zero.
        panel.affine.shift.pointer[0] = 0
        panel.values.pointer[0] = 0
        let before = Array(into.elements)
        let given = Array(gradient.elements)
        let sums = channelSums(channels)
        let partial = sums.begin(task: 0, worker: 0)
        if weight != nil {
            reluBackward(
                UnsafePointer(gradient.pointer), values: PanelNumbers(panel.values.pointer), affine: panel.affine,
                lanes: lanes,
                mask: panel.mask, inverseDeviation: inverse.pointer, normalizedOffset: offset.pointer,
                weight: weights.pointer,
                accumulate: accumulate, into: PanelNumbers(into.pointer), sums: partial)
            #expect(Array(gradient.elements) == given)
        } else {
            reluBackward(
                gradient.pointer, values: PanelNumbers(panel.values.pointer), affine: panel.affine, lanes: lanes,
                mask: panel.mask,
                inverseDeviation: inverse.pointer, normalizedOffset: offset.pointer,
                into: PanelNumbers(gradient.pointer), sums: partial)
        }
        partial.flushGradients()
        sums.finish()
        for c in 0..<channels {
            var sum = 0.0
            var product = 0.0
            for lane in 0..<lanes {
                let at = c * lanes + lane
                let isOpen = panel.affine(c, lane) > 0 && panel.isLive(lane)
                let masked = isOpen ? Double(given[at]) : 0
                sum += masked
                product += masked * (panel.value(c, lane) * Double(inverse.pointer[c]) + Double(offset.pointer[c]))
                if weight == nil {
                    #expect(Double(gradient.pointer[at]) == masked)
                } else {
                    let expected = (accumulate ? Double(before[at]) : 0) + masked * Double(weights.pointer[c])
                    #expect(abs(Double(into.pointer[at]) - expected) < 1e-6)
                }
            }
            #expect(abs(sums.sum[c] - sum) < 1e-5 && abs(sums.productSum[c] - product) < 1e-5)
        }
    }

    @Test(arguments: Shape.all) func `ReLU's backward in place masks the gradient and sums the rest`(_ shape: Shape) {
        checkReluBackward(shape, into: nil, accumulate: false)
    }

    @Test(arguments: Shape.all) func `ReLU's backward into G adds or writes the weighted gradient`(_ shape: Shape) {
        checkReluBackward(shape, into: 1, accumulate: false)
        checkReluBackward(shape, into: 1, accumulate: true)
    }

    @Test(arguments: Shape.all, [0, 1000] as [Float])
    func `norm's backward is the formula, with zeros in masked lanes and nothing between rows`(
        _ shape: Shape, _ mean: Float
    ) {
        var panel = PanelCase(shape)
        let lanes = panel.lanes
        let channels = panel.channels
        let stride = lanes + 5
        for i in 0..<panel.values.count { panel.values.pointer[i] += mean }
        let gradient = AlignedBuffer<Float>(random: &panel.random, count: channels * lanes)
        let output = AlignedBuffer<Float>(count: channels * stride)
        output.elements.update(repeating: garbage)
        let backward = BatchNormInputGradient(channels: channels)
        let numbers = (0..<channels).map { _ in (0..<4).map { _ in Double(panel.random.uniform(-1, 1)) } }
        for c in 0..<channels {
            backward.set(
                c, weight: numbers[c][0], mean: Double(mean), inverseDeviation: 1 + numbers[c][1] / 2,
                meanGradient: numbers[c][2], meanProduct: numbers[c][3])
        }
        backward.apply(
            gradient: PanelNumbers(gradient.pointer), values: PanelNumbers(panel.values.pointer), lanes: lanes,
            mask: panel.mask,
            into: PanelNumbers(output.pointer), outputStride: stride)
        // A value near 1000 has four decimals.
        let allowance = mean == 0 ? 2e-6 : 4e-4
        for c in 0..<channels {
            let inverse = 1 + numbers[c][1] / 2
            for i in 0..<stride {
                let value = Double(output.pointer[c * stride + i])
                guard i < lanes else {
                    #expect(value == Double(garbage))
                    continue
                }
                let normal = (panel.value(c, i) - Double(mean)) * inverse
                let expected =
                    numbers[c][0] * inverse
                    * (Double(gradient.pointer[c * lanes + i]) - numbers[c][2] - normal * numbers[c][3])
                #expect(panel.isLive(i) ? abs(value - expected) < allowance : value == 0)
            }
        }
    }

    @Test func `a NaN in a padding lane stays there`() {
        let layout = PanelLayout(height: 1, width: 5, images: 3)
        let featureMap = FeatureMap(layout: layout)
        featureMap.begin(images: 2)
        guard let mask = featureMap.mask(0) else {
            Issue.record("two of three images need a mask")
            return
        }
        let lanes = layout.lanes
        let sums = channelSums(1)
        func poisoned() -> AlignedBuffer<Float> {
            let buffer = AlignedBuffer<Float>(count: lanes)
            for i in 0..<lanes { buffer.pointer[i] = mask[i] == 1 ? 1 : .nan }
            return buffer
        }
        let values = poisoned()
        var partial = sums.begin(task: 0, worker: 0)
        addSums(PanelNumbers(values.pointer), lanes: lanes, mask: mask, to: partial)
        partial.flushValues()
        sums.finish()
        #expect(sums.sum[0] == 10 && sums.productSum[0] == 10 && values.elements.reduce(0, +) == 10)

        // The values are clean now; the gradients are not.
        let ones = AlignedBuffer<Float>(count: 1)
        let affine = ChannelAffine(channels: 1)
        let gradient = poisoned()
        let again = poisoned()
        (affine.scale.pointer[0], ones.pointer[0]) = (1, 1)
        let into = AlignedBuffer<Float>(count: lanes)
        let output = AlignedBuffer<Float>(count: lanes)
        partial = sums.begin(task: 0, worker: 0)
        reluBackward(
            gradient.pointer, values: PanelNumbers(values.pointer), affine: affine, lanes: lanes, mask: mask,
            inverseDeviation: ones.pointer,
            normalizedOffset: ones.pointer, into: PanelNumbers(gradient.pointer), sums: partial)
        reluBackward(
            UnsafePointer(again.pointer), values: PanelNumbers(values.pointer), affine: affine, lanes: lanes,
            mask: mask,
            inverseDeviation: ones.pointer, normalizedOffset: ones.pointer, weight: ones.pointer, accumulate: false,
            into: PanelNumbers(into.pointer),
            sums: partial)
        partial.flushGradients()
        sums.finish()
        #expect(sums.sum[0] == 20 && sums.productSum[0] == 40)
        #expect(gradient.elements.reduce(0, +) == 10 && into.elements.reduce(0, +) == 10)
        let backward = BatchNormInputGradient(channels: 1)
        backward.set(0, weight: 1, mean: 0, inverseDeviation: 1, meanGradient: 0, meanProduct: 0)
        backward.apply(
            gradient: PanelNumbers(again.pointer), values: PanelNumbers(values.pointer), lanes: lanes, mask: mask,
            into: PanelNumbers(output.pointer),
            outputStride: lanes)
        #expect(output.elements.reduce(0, +) == 10)
    }
}
