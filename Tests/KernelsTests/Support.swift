import Kernels
import Support

/// Images as plain float64 planes, for the reference computations.
final class Planes {
    let images: Int, channels: Int, height: Int, width: Int
    private let buffer: AlignedBuffer<Double>

    init(_ images: Int, _ channels: Int, _ height: Int, _ width: Int) {
        (self.images, self.channels, self.height, self.width) = (images, channels, height, width)
        buffer = AlignedBuffer(count: images * channels * height * width)
    }

    /// Random numbers, each exact in float32.
    convenience init(
        random: inout CounterRandom, _ images: Int, _ channels: Int, _ height: Int, _ width: Int, scale: Float = 1
    ) {
        self.init(images, channels, height, width)
        for i in 0..<buffer.count { buffer.pointer[i] = Double(random.uniform(-scale, scale)) }
    }

    var count: Int { buffer.count }
    var pointer: UnsafeMutablePointer<Double> { buffer.pointer }

    /// Row `y` of a channel of an image.
    func row(_ n: Int, _ c: Int, _ y: Int) -> UnsafeMutablePointer<Double> {
        buffer.pointer + ((n * channels + c) * height + y) * width
    }

    subscript(_ n: Int, _ c: Int, _ y: Int, _ x: Int) -> Double {
        get { row(n, c, y)[x] }
        set { row(n, c, y)[x] = newValue }
    }

    func mapped(_ change: (Double) -> Double) -> Planes {
        let result = Planes(images, channels, height, width)
        for i in 0..<count { result.pointer[i] = change(pointer[i]) }
        return result
    }

    var floats: AlignedBuffer<Float> {
        let result = AlignedBuffer<Float>(count: count)
        for i in 0..<count { result.pointer[i] = Float(pointer[i]) }
        return result
    }
}

extension AlignedBuffer where Element == Float {
    convenience init(random: inout CounterRandom, count: Int, scale: Float = 1) {
        self.init(count: count)
        for i in 0..<count { pointer[i] = random.uniform(-scale, scale) }
    }
}

extension PanelLayout {
    /// The image and column of a lane of a group; nil for a padding lane.
    func pixel(_ group: Int, lane: Int, images: Int) -> (image: Int, x: Int)? {
        let image = group * interleave + lane % interleave
        return lane < validLanes && image < images ? (image, lane / interleave) : nil
    }
}

/// Fills padding lanes, which nothing may read.
let garbage: Float = 3e7

extension Panels {
    /// Stores planes in panels, with garbage in all padding lanes. Leaves further channels unchanged.
    func place(_ planes: Planes, padding: Float = garbage) {
        let rounded = AlignedBuffer<Float>(count: planes.channels * layout.lanes)
        for group in 0..<layout.groups(planes.images) {
            for y in 0..<layout.height {
                let panel = numbers(group, y).place(orIn: rounded)
                defer {
                    numbers(group, y).store(
                        panel, channels: planes.channels, lanes: layout.lanes, stride: layout.lanes)
                }
                for c in 0..<planes.channels {
                    for lane in 0..<layout.lanes {
                        let pixel = layout.pixel(group, lane: lane, images: planes.images)
                        panel[c * layout.lanes + lane] = pixel.map { Float(planes[$0.image, c, y, $0.x]) } ?? padding
                    }
                }
            }
        }
    }

    /// The first `channels` channels of `images` images.
    func planes(images: Int, channels: Int) -> Planes {
        let planes = Planes(images, channels, layout.height, layout.width)
        for n in 0..<images {
            for y in 0..<layout.height {
                let panel = numbers(n / layout.interleave, y) + n % layout.interleave
                for c in 0..<channels {
                    for x in 0..<layout.width {
                        let i = c * layout.lanes + x * layout.interleave
                        planes[n, c, y, x] = Double(
                            precision == .float32
                                ? panel.floats[i] : Float(bitPattern: UInt32(panel.bfloat16[i]) << 16))
                    }
                }
            }
        }
        return planes
    }
}

/// The largest difference between a kernel's results and the reference, in units of the tolerance.
///
/// The tolerance is `relative` times the magnitude: the sum of the absolute values of all summands.
func largestError(_ actual: Planes, _ expected: Planes, magnitude: Planes, relative: Double = 1e-6) -> Double {
    precondition(actual.count == expected.count && expected.count == magnitude.count)
    var worst = 0.0
    for i in 0..<actual.count {
        let error = abs(actual.pointer[i] - expected.pointer[i]) / (relative * (magnitude.pointer[i] + 1e-30))
        // NaN must not pass.
        worst = error.isNaN ? .infinity : max(worst, error)
    }
    return worst
}

/// Convolution by definition: weight[o][i][ky][kx], zeros around the image. Also sums the absolute values.
func convolution(
    _ input: Planes, _ weight: UnsafePointer<Float>, outputs: Int, kernel: Int, stride: Int = 1
) -> (value: Planes, magnitude: Planes) {
    let padding = kernel / 2
    let inputs = input.channels
    let height = (input.height + 2 * padding - kernel) / stride + 1
    let width = (input.width + 2 * padding - kernel) / stride + 1
    let value = Planes(input.images, outputs, height, width)
    let magnitude = Planes(input.images, outputs, height, width)
    for n in 0..<input.images {
        for o in 0..<outputs {
            for i in 0..<inputs {
                for tap in 0..<kernel * kernel {
                    let w = Double(weight[(o * inputs + i) * kernel * kernel + tap])
                    for y in 0..<height {
                        let from = y * stride + tap / kernel - padding
                        guard from >= 0 && from < input.height else { continue }
                        let row = input.row(n, i, from)
                        let out = value.row(n, o, y)
                        let size = magnitude.row(n, o, y)
                        var x = 0
                        while x < width {
                            let column = x * stride + tap % kernel - padding
                            if column >= 0 && column < input.width {
                                out[x] += w * row[column]
                                size[x] += abs(w * row[column])
                            }
                            x += 1
                        }
                    }
                }
            }
        }
    }
    return (value, magnitude)
}

/// The adjoint of `convolution` with stride 1: the gradient of its input.
func convolutionBackward(
    _ gradient: Planes, _ weight: UnsafePointer<Float>, inputs: Int, kernel: Int
) -> (value: Planes, magnitude: Planes) {
    let padding = kernel / 2
    let height = gradient.height
    let width = gradient.width
    let value = Planes(gradient.images, inputs, height, width)
    let magnitude = Planes(gradient.images, inputs, height, width)
    for n in 0..<gradient.images {
        for o in 0..<gradient.channels {
            for i in 0..<inputs {
                for tap in 0..<kernel * kernel {
                    let w = Double(weight[(o * inputs + i) * kernel * kernel + tap])
                    for y in 0..<height {
                        let to = y + tap / kernel - padding
                        guard to >= 0 && to < height else { continue }
                        let row = gradient.row(n, o, y)
                        let out = value.row(n, i, to)
                        let size = magnitude.row(n, i, to)
                        for x in 0..<width {
                            let column = x + tap % kernel - padding
                            guard column >= 0 && column < width else { continue }
                            out[column] += w * row[x]
                            size[column] += abs(w * row[x])
                        }
                    }
                }
            }
        }
    }
    return (value, magnitude)
}

/// The gradient of the weights of `convolution` with stride 1, as planes [outputs][inputs][kernel][kernel].
func convolutionWeightGradient(_ input: Planes, _ gradient: Planes, kernel: Int) -> (value: Planes, magnitude: Planes) {
    let padding = kernel / 2
    let value = Planes(gradient.channels, input.channels, kernel, kernel)
    let magnitude = Planes(gradient.channels, input.channels, kernel, kernel)
    for o in 0..<gradient.channels {
        for i in 0..<input.channels {
            for tap in 0..<kernel * kernel {
                var sum = 0.0
                var size = 0.0
                for n in 0..<input.images {
                    for y in 0..<gradient.height {
                        let from = y + tap / kernel - padding
                        guard from >= 0 && from < input.height else { continue }
                        let row = input.row(n, i, from)
                        let other = gradient.row(n, o, y)
                        var x = 0
                        while x < gradient.width {
                            let column = x + tap % kernel - padding
                            if column >= 0 && column < input.width {
                                sum += row[column] * other[x]
                                size += abs(row[column] * other[x])
                            }
                            x += 1
                        }
                    }
                }
                value[o, i, tap / kernel, tap % kernel] = sum
                magnitude[o, i, tap / kernel, tap % kernel] = size
            }
        }
    }
    return (value, magnitude)
}

/// A random problem: a resolution, the capacity of its layout, the number of images, and channels.
struct Shape: CustomStringConvertible, Sendable {
    let height: Int, width: Int, capacity: Int, images: Int, inputs: Int, outputs: Int
    let seed: UInt64

    var layout: PanelLayout { PanelLayout(height: height, width: width, images: capacity) }
    var random: CounterRandom { CounterRandom(.synthetic, 77, seed) }
    var featureMap: FeatureMap {
        let featureMap = FeatureMap(layout: layout)
        featureMap.begin(images: images)
        return featureMap
    }

    var description: String {
        "\(images) of \(capacity) images of \(height)×\(width), \(inputs) to \(outputs) channels, interleave \(layout.interleave)"
    }

    /// Shapes of all kinds: full and partly filled groups, padding tails, odd sizes and channels that fill no tile.
    static let all: [Shape] = {
        var shapes = [
            // CIFAR's resolutions: interleaves 1, 2 and 4, no padding.
            Shape(height: 2, width: 32, capacity: 2, images: 2, inputs: 24, outputs: 48, seed: 0),
            Shape(height: 3, width: 16, capacity: 4, images: 4, inputs: 48, outputs: 12, seed: 1),
            Shape(height: 2, width: 8, capacity: 8, images: 7, inputs: 36, outputs: 49, seed: 2),
            // One pixel, one channel, one image; sixteen images in a group; a row wider than the 128 lanes of a group.
            Shape(height: 1, width: 1, capacity: 1, images: 1, inputs: 1, outputs: 1, seed: 3),
            Shape(height: 2, width: 1, capacity: 16, images: 13, inputs: 17, outputs: 13, seed: 4),
            Shape(height: 1, width: 131, capacity: 2, images: 2, inputs: 3, outputs: 5, seed: 5),
        ]
        for seed in 6..<26 {
            var random = CounterRandom(.synthetic, 78, UInt64(seed))
            let capacity = 1 + random.below(16)
            shapes.append(
                Shape(
                    height: 1 + random.below(5), width: 1 + random.below(9), capacity: capacity,
                    images: 1 + random.below(capacity), inputs: 1 + random.below(20), outputs: 1 + random.below(30),
                    seed: UInt64(seed)))
        }
        return shapes
    }()
}
