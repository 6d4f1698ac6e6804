import DenseNetModel
import Kernels
import Support

/// A small network of each kind, and a batch for it.
struct TinyNetwork: Sendable, CustomStringConvertible {
    let name: String
    let configuration: DenseNetConfiguration
    /// The number of images in the global batch.
    let count: Int
    let labelSmoothing: Double
    let classWeights: [Double]?

    var description: String { name }

    init(
        _ name: String, stem: DenseNetConfiguration.Stem = .cifar, stride: Int? = nil, _ blocks: [Int], growth: Int...,
        channels: Int,
        bottleneck: Bool = false, compression: Double = 1, dropout: Double = 0, classes: Int = 4, image: Int,
        imageChannels: Int = 3, count: Int, labelSmoothing: Double = 0, classWeights: [Double]? = nil
    ) {
        self.name = name
        self.count = count
        self.labelSmoothing = labelSmoothing
        self.classWeights = classWeights
        configuration = DenseNetConfiguration(
            stem: stem, stemStride: stride, blocks: blocks,
            growthRates: growth, stemChannels: channels,
            bottleneck: bottleneck,
            compression: compression, dropout: dropout, classes: classes, image: image,
            imageChannels: imageChannels)
    }

    /// Images, shape [count][channels][image][image].
    var images: [Float] {
        var random = CounterRandom(.synthetic, 60)
        return (0..<count * pixels).map { _ in Float(random.normal()) }
    }

    /// The elements of one image.
    var pixels: Int { configuration.imageChannels * configuration.image * configuration.image }

    var labels: [Int32] {
        var random = CounterRandom(.synthetic, 61)
        return (0..<count).map { _ in Int32(random.below(configuration.classes)) }
    }

    /// The images' indices in the data set, which determine dropout.
    var samples: [Int32] { (0..<count).map { Int32(100 + 7 * $0) } }

    /// A network whose norms are not at 1 and 0, which would hide errors.
    func network(
        capacity: Int? = nil, threads: Int = 1, precision: Precision = .float32
    ) throws -> TrainableDenseNet {
        let network = try TrainableDenseNet(
            configuration, capacity: capacity ?? count, threads: threads, precision: precision)
        setWeights(of: network)
        return network
    }

    /// The same network for inference.
    func evaluatingNetwork() throws -> DenseNet {
        let network = try DenseNet(configuration, capacity: count)
        setWeights(of: network)
        return network
    }

    private func setWeights(of network: DenseNet) {
        network.initialize(seed: 3)
        var random = CounterRandom(.weights, 62)
        for parameter in network.table.trainable where parameter.shape.count == 1 {
            for i in parameter.range { network.parameters[i] += random.uniform(-0.4, 0.4) }
        }
    }

    static let plain = TinyNetwork("plain", [2, 1, 2], growth: 5, channels: 7, image: 9, count: 3)
    static let bottleneck = TinyNetwork(
        "BC", [2, 2], growth: 3, channels: 6, bottleneck: true, compression: 0.5, image: 8, count: 5,
        labelSmoothing: 0.1)
    static let imageNet = TinyNetwork(
        "ImageNet", stem: .imagenet, [1, 2], growth: 4, channels: 8, bottleneck: true, compression: 0.7, image: 35,
        count: 3)

    /// Without dropout, which the reference does not have.
    static let all = [
        plain, bottleneck, imageNet,
        TinyNetwork("plain, one image", [3], growth: 2, channels: 3, image: 9, count: 1, labelSmoothing: 0.2),
        TinyNetwork(
            "plain, compression 0.7", [1, 1], growth: 13, channels: 17, compression: 0.7, classes: 3, image: 6, count: 5
        ),
        TinyNetwork(
            "BC, one image", [2, 1], growth: 2, channels: 5, bottleneck: true, compression: 0.7, image: 9, count: 1),
        TinyNetwork(
            "bottleneck alone", [1, 1, 1], growth: 4, channels: 4, bottleneck: true, image: 11, count: 3,
            labelSmoothing: 0.3),
        TinyNetwork(
            "BC-12", [1, 1], growth: 12, channels: 24, bottleneck: true, compression: 0.5, classes: 10, image: 4,
            count: 8),
        // Channels that fill vectors, down to images of one pixel.
        TinyNetwork(
            "BC-16, small maps", [1, 1, 2], growth: 16, channels: 16, bottleneck: true, compression: 0.5, image: 4,
            count: 10),
        TinyNetwork("ImageNet plain, one image", stem: .imagenet, [2], growth: 3, channels: 5, image: 9, count: 1),
        TinyNetwork(
            "ImageNet, 35", stem: .imagenet, [1, 1, 1], growth: 2, channels: 3, bottleneck: true, compression: 0.7,
            image: 35, count: 5),
        TinyNetwork(
            "strided, growing", stride: 2, [2, 2], growth: 3, 7, channels: 6, bottleneck: true, compression: 0.5,
            image: 19, count: 4),
        TinyNetwork(
            "strided, plain", stride: 2, [1, 2], growth: 4, 3, channels: 5, compression: 0.6, image: 10, count: 3),
        TinyNetwork(
            "weighted classes", [1, 1], growth: 3, channels: 5, bottleneck: true, compression: 0.5, image: 8, count: 6,
            labelSmoothing: 0.2, classWeights: [2, 0.5, 0, 4]),
        TinyNetwork("wide rows", [1, 1], growth: 2, channels: 2, image: 33, count: 2),
        TinyNetwork(
            "grey", [1, 1], growth: 3, channels: 6, bottleneck: true, compression: 0.5, image: 8, imageChannels: 1,
            count: 5),
        TinyNetwork("grey, strided", stride: 2, [2], growth: 4, channels: 5, image: 11, imageChannels: 1, count: 3),
        TinyNetwork(
            "grey, ImageNet", stem: .imagenet, [1, 1], growth: 4, channels: 8, bottleneck: true, compression: 0.5,
            image: 35, imageChannels: 1, count: 3),
    ]

    static let dropout = [
        TinyNetwork("plain, dropout", [2, 1], growth: 5, channels: 7, dropout: 0.2, image: 9, count: 4),
        TinyNetwork(
            "BC, dropout", [2, 2], growth: 3, channels: 6, bottleneck: true, compression: 0.5, dropout: 0.3, image: 8,
            count: 5),
        TinyNetwork(
            "ImageNet, dropout", stem: .imagenet, [1, 1], growth: 4, channels: 8, dropout: 0.2, image: 20, count: 3),
    ]
}

/// The results of a pass over a batch, or over a part of one.
struct PassResult: Sendable, Equatable {
    var logits: [Float]
    var result: BatchResult
    /// Empty in evaluation.
    var gradients: [Float] = []
    var statistics: [Float] = []
}

extension DenseNet {
    /// Evaluates the images `range` of the global batch.
    func evaluate(_ tiny: TinyNetwork, images: [Float]? = nil, range: Range<Int>? = nil) throws -> PassResult {
        let range = range ?? 0..<tiny.count
        let result = try evaluate(tiny.part(range, of: images), count: range.count).loss(Array(tiny.labels[range]))
        return PassResult(
            logits: Array(logits.prefix(range.count * configuration.classes)), result: result,
            statistics: Array(runningStatistics))
    }
}

extension TrainableDenseNet {
    /// Forward, loss and, with `backward`, backward over the images `range` of the global batch.
    func run(
        _ tiny: TinyNetwork, images: [Float]? = nil, range: Range<Int>? = nil, globalCount: Int? = nil,
        backward: Bool = true, seed: UInt64 = 1, epoch: Int = 1, sums: any GlobalSums = LocalSums(),
        ready: (Int) throws -> Void = { _ in }
    ) throws -> PassResult {
        let range = range ?? 0..<tiny.count
        let samples = tiny.samples[range] + [0]
        return try tiny.part(range, of: images).withUnsafeBufferPointer { pixels in
            try samples.withUnsafeBufferPointer { samples in
                // Neither is empty, so both have addresses.
                let pass = try forward(
                    pixels.baseAddress!, count: range.count, globalCount: globalCount ?? range.count,
                    dropout: (seed, epoch, samples.baseAddress!), sums: sums)
                let logits = Array(logits.prefix(range.count * configuration.classes))
                let loss = pass.loss(
                    Array(tiny.labels[range]), labelSmoothing: tiny.labelSmoothing, classWeights: tiny.classWeights)
                var result = PassResult(logits: logits, result: loss.result)
                if backward {
                    try loss.backward(ready: ready)
                    result.gradients = Array(gradients)
                }
                result.statistics = Array(runningStatistics)
                return result
            }
        }
    }
}

extension TinyNetwork {
    /// The pixels of the images, plus one extra number.
    fileprivate func part(_ range: Range<Int>, of images: [Float]?) -> [Float] {
        (images ?? self.images)[range.lowerBound * pixels..<range.upperBound * pixels] + [0]
    }
}

/// The length of a vector.
func norm(_ values: some Sequence<Double>) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

/// The largest difference between two sequences, relative to the largest number; infinite if their counts differ or a
/// number is NaN.
func relativeDifference(_ first: some Collection<Float>, _ second: some Collection<Float>) -> Double {
    guard first.count == second.count else { return .infinity }
    var largest = 0.0
    var difference = 0.0
    for (a, b) in zip(first, second) {
        guard a.isFinite && b.isFinite else { return .infinity }
        largest = max(largest, abs(Double(a)), abs(Double(b)))
        difference = max(difference, abs(Double(a) - Double(b)))
    }
    return largest == 0 ? 0 : difference / largest
}
