import DenseNetModel
import Glibc
import Support

/// Feature maps in float64: [images][channels][size][size].
private final class Volume {
    let images: Int, channels: Int, size: Int
    private let buffer: AlignedBuffer<Double>

    init(_ images: Int, _ channels: Int, _ size: Int) {
        (self.images, self.channels, self.size) = (images, channels, size)
        buffer = AlignedBuffer(count: images * channels * size * size)
    }

    func plane(_ n: Int, _ c: Int) -> UnsafeMutablePointer<Double> { buffer.pointer + (n * channels + c) * size * size }
}

/// A DenseNet's forward pass and loss exactly as in the paper, in float64 and without dropout: each norm has its own
/// statistics, channels are concatenated, a transition convolves before it pools.
final class ReferenceNetwork {
    let configuration: DenseNetConfiguration
    let table: ParameterTable
    /// In the network's layout.
    var parameters: [Double]
    var statistics: [Double]
    /// Norms whose weights lie here in the flat buffer or behind take the running statistics in training too.
    var evaluatedOffset = Int.max
    private var isTraining = true

    /// Copies a network's parameters and running statistics.
    init(_ network: DenseNet) {
        configuration = network.configuration
        table = network.table
        parameters = network.parameters.map(Double.init)
        statistics = network.runningStatistics.map(Double.init)
    }

    /// Logits [count][classes] of images of shape [count][channels][image][image]. Training updates the running statistics.
    func forward(_ images: [Float], count: Int, training: Bool) -> [Double] {
        isTraining = training
        let input = Volume(count, configuration.imageChannels, configuration.image)
        for i in images.indices { input.plane(0, 0)[i] = Double(images[i]) }
        var features = convolution(input, table.stemConvolution, stride: configuration.stemStride)
        if let norm = table.stemNorm { features = maxPool(normRelu(features, norm)) }
        for (b, layers) in table.blocks.enumerated() {
            for layer in layers {
                features = concatenation(features, newFeatures(features, layer))
            }
            if b < table.transitions.count {
                let transition = table.transitions[b]
                features = averagePool(convolution(normRelu(features, transition.norm), transition.conv))
            }
        }
        return classifier(normRelu(features, table.finalNorm))
    }

    private func newFeatures(_ features: Volume, _ layer: ParameterTable.DenseLayer) -> Volume {
        switch layer {
        case .plain(let layer): convolution(normRelu(features, layer.norm), layer.conv)
        case .bottleneck(let layer):
            convolution(
                normRelu(convolution(normRelu(features, layer.norm1), layer.conv1), layer.norm2), layer.conv2)
        }
    }

    /// The sum over images of the cross-entropy with smoothed labels, each class's part times its weight.
    func loss(_ logits: [Double], _ labels: [Int32], _ tiny: TinyNetwork) -> Double {
        let labelSmoothing = tiny.labelSmoothing
        let classes = configuration.classes
        var sum = 0.0
        for (n, label) in labels.enumerated() {
            let row = logits[n * classes..<(n + 1) * classes]
            let largest = row.max() ?? 0
            let logTotal = largest + log(row.reduce(0) { $0 + exp($1 - largest) })
            for (c, logit) in row.enumerated() {
                let target = labelSmoothing / Double(classes) + (c == Int(label) ? 1 - labelSmoothing : 0)
                sum += target * (tiny.classWeights?[c] ?? 1) * (logTotal - logit)
            }
        }
        return sum
    }

    private func convolution(_ input: Volume, _ weight: Parameter, stride: Int = 1) -> Volume {
        let kernel = weight.shape[2]
        let padding = kernel / 2
        let inputs = weight.shape[1]
        let size = input.size
        let output = Volume(input.images, weight.shape[0], (size - 1) / stride + 1)
        parameters.withUnsafeBufferPointer { parameters in
            var w = parameters.baseAddress! + weight.offset
            for o in 0..<output.channels {
                for i in 0..<inputs {
                    for tap in 0..<kernel * kernel {
                        let dy = tap / kernel - padding
                        let dx = tap % kernel - padding
                        let factor = w[0]
                        w += 1
                        var first = 0
                        var end = output.size
                        while first * stride + dx < 0 { first += 1 }
                        while end > 0 && (end - 1) * stride + dx >= size { end -= 1 }
                        for n in 0..<input.images {
                            let from = input.plane(n, i)
                            let to = output.plane(n, o)
                            for y in 0..<output.size where y * stride + dy >= 0 && y * stride + dy < size {
                                let row = from + (y * stride + dy) * size + dx
                                let out = to + y * output.size
                                var x = first
                                while x < end {
                                    out[x] += factor * row[x * stride]
                                    x += 1
                                }
                            }
                        }
                    }
                }
            }
        }
        return output
    }

    private func normRelu(_ input: Volume, _ norm: NormParameters) -> Volume {
        let output = Volume(input.images, norm.channels, input.size)
        let pixels = input.size * input.size
        for c in 0..<norm.channels {
            var mean = statistics[norm.runningMean.offset + c]
            var variance = statistics[norm.runningVariance.offset + c]
            if isTraining, norm.weight.offset < evaluatedOffset {
                let count = Double(input.images * pixels)
                mean = 0
                variance = 0
                for n in 0..<input.images { for i in 0..<pixels { mean += input.plane(n, c)[i] / count } }
                for n in 0..<input.images {
                    for i in 0..<pixels {
                        let deviation = input.plane(n, c)[i] - mean
                        variance += deviation * deviation / count
                    }
                }
                statistics[norm.runningMean.offset + c] = 0.9 * statistics[norm.runningMean.offset + c] + 0.1 * mean
                statistics[norm.runningVariance.offset + c] =
                    0.9 * statistics[norm.runningVariance.offset + c] + 0.1 * variance * count / (count - 1)
            }
            let scale = parameters[norm.weight.offset + c] / sqrt(variance + 1e-5)
            let shift = parameters[norm.bias.offset + c]
            for n in 0..<input.images {
                let from = input.plane(n, c)
                let to = output.plane(n, c)
                for i in 0..<pixels { to[i] = max(0, (from[i] - mean) * scale + shift) }
            }
        }
        return output
    }

    private func concatenation(_ first: Volume, _ second: Volume) -> Volume {
        let output = Volume(first.images, first.channels + second.channels, first.size)
        let pixels = first.size * first.size
        for n in 0..<first.images {
            output.plane(n, 0).update(from: first.plane(n, 0), count: first.channels * pixels)
            output.plane(n, first.channels).update(from: second.plane(n, 0), count: second.channels * pixels)
        }
        return output
    }

    private func averagePool(_ input: Volume) -> Volume {
        let output = Volume(input.images, input.channels, input.size / 2)
        pool(input, into: output) { from, y, x in
            let upper = from + 2 * y * input.size + 2 * x
            let lower = upper + input.size
            return (upper[0] + upper[1] + lower[0] + lower[1]) / 4
        }
        return output
    }

    private func maxPool(_ input: Volume) -> Volume {
        let output = Volume(input.images, input.channels, (input.size - 1) / 2 + 1)
        let last = input.size - 1
        pool(input, into: output) { from, y, x in
            var most = -Double.infinity
            for row in max(2 * y - 1, 0)...min(2 * y + 1, last) {
                for column in max(2 * x - 1, 0)...min(2 * x + 1, last) {
                    most = max(most, from[row * input.size + column])
                }
            }
            return most
        }
        return output
    }

    private func pool(
        _ input: Volume, into output: Volume, _ pixel: (UnsafePointer<Double>, _ y: Int, _ x: Int) -> Double
    ) {
        for n in 0..<input.images {
            for c in 0..<input.channels {
                for y in 0..<output.size {
                    for x in 0..<output.size {
                        output.plane(n, c)[y * output.size + x] = pixel(input.plane(n, c), y, x)
                    }
                }
            }
        }
    }

    private func classifier(_ input: Volume) -> [Double] {
        let pixels = input.size * input.size
        var logits: [Double] = []
        for n in 0..<input.images {
            let features = (0..<input.channels).map { c in
                (0..<pixels).reduce(0) { $0 + input.plane(n, c)[$1] } / Double(pixels)
            }
            for o in 0..<configuration.classes {
                let weight = table.classifierWeight.offset + o * input.channels
                logits.append(
                    features.enumerated().reduce(parameters[table.classifierBias.offset + o]) {
                        $0 + $1.element * parameters[weight + $1.offset]
                    })
            }
        }
        return logits
    }
}
