import Kernels
import Support
import Testing

/// A pool between two resolutions with layouts for a capacity, and a number of images.
private struct PoolCase: CustomStringConvertible, Sendable {
    let height: Int, width: Int, capacity: Int, images: Int, channels: Int, seed: UInt64
    let isMax: Bool

    var source: PanelLayout { PanelLayout(height: height, width: width, images: capacity) }
    var target: PanelLayout {
        isMax
            ? PanelLayout(height: (height - 1) / 2 + 1, width: (width - 1) / 2 + 1, images: capacity)
            : PanelLayout(height: height / 2, width: width / 2, images: capacity)
    }
    var description: String {
        "\(images) of \(capacity) images of \(height)×\(width), interleave \(source.interleave) to \(target.interleave)"
    }

    static func all(isMax: Bool) -> [PoolCase] {
        var cases = [
            PoolCase(height: 4, width: 32, capacity: 4, images: 3, channels: 5, seed: 0, isMax: isMax),
            PoolCase(height: 6, width: 16, capacity: 8, images: 8, channels: 3, seed: 1, isMax: isMax),
            PoolCase(height: 2, width: 2, capacity: 33, images: 33, channels: 2, seed: 2, isMax: isMax),
            PoolCase(height: 3, width: 129, capacity: 2, images: 2, channels: 1, seed: 3, isMax: isMax),
        ]
        for seed in 4..<24 {
            var random = CounterRandom(.synthetic, isMax ? 91 : 92, UInt64(seed))
            let capacity = 1 + random.below(13)
            cases.append(
                PoolCase(
                    height: 2 + random.below(9), width: 2 + random.below(9), capacity: capacity,
                    images: 1 + random.below(capacity), channels: 1 + random.below(9), seed: UInt64(seed),
                    isMax: isMax))
        }
        return cases
    }

    var random: CounterRandom { CounterRandom(.synthetic, 93, seed) }

    func featureMap(_ layout: PanelLayout) -> FeatureMap {
        let featureMap = FeatureMap(layout: layout)
        featureMap.begin(images: images)
        return featureMap
    }

    func affine(_ random: inout CounterRandom) -> ChannelAffine {
        let affine = ChannelAffine(channels: channels)
        for c in 0..<channels {
            affine.scale.pointer[c] = random.uniform(-2, 2)
            affine.shift.pointer[c] = random.uniform(-1, 1)
        }
        return affine
    }
}

@Suite struct AveragePoolTests {
    @Test func `the cases go between different interleaves and have odd sizes`() {
        let cases = PoolCase.all(isMax: false)
        #expect(cases.contains { $0.source.interleave < $0.target.interleave })
        #expect(cases.contains { $0.source.interleave > 1 && $0.source.interleave != $0.target.interleave })
        #expect(cases.contains { $0.width % 2 == 1 && $0.height % 2 == 0 } && cases.contains { $0.height % 2 == 1 })
    }

    @Test(arguments: PoolCase.all(isMax: false))
    fileprivate func `four activated pixels become their mean, and an odd last row or column is dropped`(
        _ problem: PoolCase
    ) {
        var random = problem.random
        let values = Planes(random: &random, problem.images, problem.channels, problem.height, problem.width)
        let affine = problem.affine(&random)
        let panels = Panels(layout: problem.source, channels: problem.channels + 2, images: problem.capacity)
        let pooled = Panels(layout: problem.target, channels: problem.channels, images: problem.capacity)
        panels.place(values)
        let featureMap = problem.featureMap(problem.source)
        let pool = AveragePoolKernel(source: featureMap, target: problem.target)
        let scratch = AlignedBuffer<Float>(count: problem.source.lanes)
        for group in 0..<featureMap.groups {
            for y in 0..<problem.target.height {
                pool.forward(panels, affine, group: group, y: y, into: pooled, scratch: scratch.pointer)
            }
        }
        let actual = pooled.planes(images: problem.images, channels: problem.channels)
        for n in 0..<problem.images {
            for c in 0..<problem.channels {
                let scale = Double(affine.scale.pointer[c])
                let shift = Double(affine.shift.pointer[c])
                for y in 0..<problem.target.height {
                    for x in 0..<problem.target.width {
                        var sum = 0.0
                        for i in 0..<4 { sum += max(0, scale * values[n, c, 2 * y + i / 2, 2 * x + i % 2] + shift) }
                        #expect(abs(actual[n, c, y, x] - sum / 4) < 1e-6)
                    }
                }
            }
        }
    }

    @Test(arguments: PoolCase.all(isMax: false))
    fileprivate func `a pooled pixel's gradient goes to its four pixels in quarters`(_ problem: PoolCase) {
        var random = problem.random
        let gradient = Planes(
            random: &random, problem.images, problem.channels, problem.target.height, problem.target.width)
        let pooled = Panels(layout: problem.target, channels: problem.channels, images: problem.capacity)
        pooled.place(gradient)
        let featureMap = problem.featureMap(problem.source)
        let pool = AveragePoolKernel(source: featureMap, target: problem.target)
        let lanes = problem.source.lanes
        let output = AlignedBuffer<Float>(count: problem.channels * lanes)
        for group in 0..<featureMap.groups {
            for y in 0..<problem.height {
                output.elements.update(repeating: garbage)
                pool.backward(pooled, group: group, y: y / 2, into: output.pointer)
                var isRight = true
                for i in 0..<output.count {
                    var expected = 0.0
                    if let pixel = problem.source.pixel(group, lane: i % lanes, images: problem.images),
                        y / 2 < problem.target.height, pixel.x / 2 < problem.target.width
                    {
                        expected = gradient[pixel.image, i / lanes, y / 2, pixel.x / 2] / 4
                    }
                    isRight = isRight && Double(output.pointer[i]) == expected
                }
                #expect(isRight, "group \(group), row \(y)")
            }
        }
    }
}

@Suite struct MaxPoolTests {
    /// As in PyTorch: of the window's pixels inside the image, row by row, the first of the largest; NaN is the
    /// largest.
    private func largest(_ values: Planes, _ n: Int, _ c: Int, _ y: Int, _ x: Int) -> (value: Double, y: Int, x: Int) {
        var best: (value: Double, y: Int, x: Int)?
        for row in max(2 * y - 1, 0)...min(2 * y + 1, values.height - 1) {
            for column in max(2 * x - 1, 0)...min(2 * x + 1, values.width - 1) {
                let value = values[n, c, row, column]
                if best == nil || value > best!.value || value.isNaN { best = (value, row, column) }
            }
        }
        return best!
    }

    private func pool(_ problem: PoolCase, _ panels: Panels, _ affine: ChannelAffine) -> Planes {
        let pooled = Panels(layout: problem.target, channels: problem.channels + 1, images: problem.capacity)
        let featureMap = problem.featureMap(problem.source)
        let maxPool = MaxPoolKernel(source: featureMap, target: problem.target)
        let scratch = AlignedBuffer<Float>(count: MaxPoolKernel.scratchCount(problem.source))
        for group in 0..<featureMap.groups {
            for y in 0..<problem.target.height {
                maxPool.forward(panels, affine, group: group, y: y, into: pooled, scratch: scratch.pointer)
            }
        }
        return pooled.planes(images: problem.images, channels: problem.channels)
    }

    @Test(arguments: PoolCase.all(isMax: true))
    fileprivate func `the output is the window's largest activated pixel`(_ problem: PoolCase) {
        var random = problem.random
        let values = Planes(random: &random, problem.images, problem.channels, problem.height, problem.width)
        let affine = problem.affine(&random)
        let panels = Panels(layout: problem.source, channels: problem.channels, images: problem.capacity)
        panels.place(values)
        let actual = pool(problem, panels, affine)
        let activated = Planes(problem.images, problem.channels, problem.height, problem.width)
        for n in 0..<problem.images {
            for c in 0..<problem.channels {
                for i in 0..<problem.height * problem.width {
                    let y = Double(affine.scale.pointer[c]) * values.row(n, c, 0)[i] + Double(affine.shift.pointer[c])
                    activated.row(n, c, 0)[i] = max(0, y)
                }
                for y in 0..<problem.target.height {
                    for x in 0..<problem.target.width {
                        #expect(abs(actual[n, c, y, x] - largest(activated, n, c, y, x).value) < 1e-6)
                    }
                }
            }
        }
    }

    @Test(arguments: PoolCase.all(isMax: true))
    fileprivate func `the gradient goes to the first of the largest, and nowhere if the ReLU is inactive`(
        _ problem: PoolCase
    ) {
        var random = problem.random
        // Few different values, so that most windows have equals.
        let values = Planes(problem.images, problem.channels, problem.height, problem.width)
        for i in 0..<values.count { values.pointer[i] = Double(random.below(4)) - 2 }
        let affine = ChannelAffine(channels: problem.channels)
        affine.scale.elements.update(repeating: 1)
        let gradient = Planes(
            random: &random, problem.images, problem.channels, problem.target.height, problem.target.width)
        let panels = Panels(layout: problem.source, channels: problem.channels, images: problem.capacity)
        let pooledGradient = Panels(layout: problem.target, channels: problem.channels, images: problem.capacity)
        let result = Panels(layout: problem.source, channels: problem.channels, images: problem.capacity)
        panels.place(values)
        pooledGradient.place(gradient)
        // What an earlier step left.
        result.place(Planes(random: &random, problem.images, problem.channels, problem.height, problem.width))
        let featureMap = problem.featureMap(problem.source)
        let maxPool = MaxPoolKernel(source: featureMap, target: problem.target)
        let scratch = AlignedBuffer<Float>(count: MaxPoolKernel.scratchCount(problem.source))
        for group in 0..<featureMap.groups {
            for y in 0..<problem.target.height {
                maxPool.backward(
                    pooledGradient, group: group, y: y, panels, affine, into: result, scratch: scratch.pointer)
            }
        }
        let expected = Planes(problem.images, problem.channels, problem.height, problem.width)
        let activated = values.mapped { max($0, 0) }
        for n in 0..<problem.images {
            for c in 0..<problem.channels {
                for y in 0..<problem.target.height {
                    for x in 0..<problem.target.width {
                        let place = largest(activated, n, c, y, x)
                        if values[n, c, place.y, place.x] > 0 {
                            expected[n, c, place.y, place.x] += gradient[n, c, y, x]
                        }
                    }
                }
            }
        }
        let actual = result.planes(images: problem.images, channels: problem.channels)
        #expect(largestError(actual, expected, magnitude: expected.mapped { abs($0) + 4 }) < 1)
    }

    @Test func `a NaN is the largest of its windows`() {
        let problem = PoolCase(height: 5, width: 5, capacity: 1, images: 1, channels: 1, seed: 0, isMax: true)
        let values = Planes(1, 1, 5, 5).mapped { _ in 1 }
        values[0, 0, 1, 1] = .nan
        let panels = Panels(layout: problem.source, channels: 1, images: 1)
        let affine = ChannelAffine(channels: 1)
        affine.scale.pointer[0] = 1
        panels.place(values)
        let actual = pool(problem, panels, affine)
        for y in 0..<3 { for x in 0..<3 { #expect(actual[0, 0, y, x].isNaN == (y < 2 && x < 2)) } }
    }
}
