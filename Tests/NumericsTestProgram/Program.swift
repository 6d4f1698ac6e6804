import AllocationCounter
import DenseNetModel
import Kernels
import Support

/// Trains tiny networks and prints the results (`numbers`), or how often ten steps allocate memory (`allocations
/// THREADS`). With `lower-levels` it prints the vector levels below this CPU's best, with `freezing IMAGES THREADS PAIRS`
/// what a step takes that trains the classifier alone.
@main
struct Program {
    static func main() throws {
        switch CommandLine.arguments.dropFirst().first {
        case "numbers":
            print("level", VectorLevel.current)
            for training in try trainings(threads: 1) {
                for step in 0..<2 {
                    training.step()
                    training.report("\(step)")
                }
            }
        case "allocations":
            guard allocation_counter_works() == 1 else { return print("not counted") }
            for training in try trainings(threads: Int(CommandLine.arguments.last ?? "") ?? 1) {
                for _ in 0..<2 { training.step() }
                allocation_counter_start()
                for _ in 0..<10 { training.step() }
                let count = allocation_counter_stop()
                print("\(training.name): \(count)")
            }
            let job = try BackgroundJob<Int>(refusal: "no thread") { _ in }
            job.start(0)
            try job.wait()
            allocation_counter_start()
            for number in 0..<10 {
                job.start(number)
                try job.wait()
            }
            let count = allocation_counter_stop()
            print("background job: \(count)")
        case "lower-levels":
            for level in VectorLevel.allCases where level < .best { print(level) }
        case "freezing":
            let numbers = CommandLine.arguments.dropFirst(2).compactMap { Int($0) }
            guard numbers.count == 3 else { throw Failure(.usage, "expected images, threads and pairs") }
            try FreezingCost.report(images: numbers[0], threads: numbers[1], pairs: numbers[2])
        default:
            throw Failure(.usage, "expected numbers, allocations, lower-levels or freezing")
        }
    }

    static func trainings(threads: Int) throws -> [Training] {
        func configuration(
            _ stem: DenseNetConfiguration.Stem, _ blocks: [Int], _ growth: Int, _ channels: Int, _ bottleneck: Bool,
            _ image: Int, dropout: Double = 0
        ) -> DenseNetConfiguration {
            DenseNetConfiguration(
                stem: stem, blocks: blocks, growthRate: growth, stemChannels: channels, bottleneck: bottleneck,
                compression: bottleneck ? 0.5 : 1, dropout: dropout, classes: 10, image: image)
        }
        // Products of all tile widths: 1 to 3 vectors of transposed channels, and channels that do not fill a tile.
        return try [
            Training("bf16", configuration(.cifar, [2, 1], 12, 24, true, 9), images: 5, threads, precision: .bfloat16),
            Training("plain", configuration(.cifar, [2, 1], 12, 16, false, 8), images: 6, threads),
            Training("BC", configuration(.cifar, [2, 2], 12, 24, true, 8), images: 5, threads),
            Training("ImageNet", configuration(.imagenet, [1, 2], 9, 33, true, 33), images: 3, threads),
            Training("dropout", configuration(.cifar, [1, 1], 5, 7, true, 9, dropout: 0.2), images: 20, threads),
            Training(
                "frozen", configuration(.cifar, [2, 2], 12, 24, true, 8), images: 5, frozen: [.stem, .block(1)], threads
            ),
            Training(
                "groups", configuration(.cifar, [1, 1], 5, 7, true, 9, dropout: 0.2), images: 20, group: 8, threads),
        ]
    }
}

/// A network and a batch that it is repeatedly trained on.
final class Training {
    let name: String
    private let network: TrainableDenseNet
    private let momentumBuffer: AlignedBuffer<Float>
    private let images: AlignedBuffer<Float>
    private let labels: AlignedBuffer<Int32>
    private let samples: AlignedBuffer<Int32>
    private let sums = LocalSums()
    /// Nil where batch statistics are of all images.
    private let groups: ImageGroups?
    private var loss = 0.0

    init(
        _ name: String, _ configuration: DenseNetConfiguration, images count: Int, group: Int? = nil,
        frozen: [NetworkPart] = [], _ threads: Int, precision: Precision = .float32
    ) throws {
        self.name = name
        network = try TrainableDenseNet(
            configuration, capacity: group ?? count, threads: threads, precision: precision)
        network.initialize(seed: 1)
        try network.freeze(frozen, evaluatingNorms: !frozen.isEmpty)
        let network = network
        groups = group.map { ImageGroups(of: network, size: $0, most: count) }
        momentumBuffer = AlignedBuffer(count: network.parameters.count)
        images = AlignedBuffer(count: count * 3 * configuration.image * configuration.image)
        labels = AlignedBuffer(count: count)
        samples = AlignedBuffer(count: count)
        var random = CounterRandom(.synthetic, 1)
        for i in 0..<images.count { images.pointer[i] = Float(random.normal()) }
        for n in 0..<count { (labels.pointer[n], samples.pointer[n]) = (Int32(random.below(10)), Int32(n)) }
    }

    func step() {
        do { loss = try lossAndGradients() } catch { fatalError("\(error)") }
        sgdStep(
            weights: network.parameters, gradients: network.gradients, momentumBuffer: momentumBuffer.elements,
            learningRate: 0.05,
            gradientScale: 1 / Float(labels.count), momentum: 0.9, weightDecay: 1e-4, nesterov: true)
    }

    private func lossAndGradients() throws -> Double {
        let samples = UnsafePointer(samples.pointer)
        if let groups {
            let result = try groups.gradients(
                images.pointer, labels: BatchLabels(labels.pointer), count: labels.count, globalCount: labels.count,
                labelSmoothing: 0.1, classWeights: Self.classWeights, dropout: (1, 1, samples))
            try groups.moveRunningStatistics(sums)
            return result.lossSum
        }
        let pass = try network.forward(
            images.pointer, count: labels.count, globalCount: labels.count, dropout: (1, 1, samples), sums: sums)
        let loss = pass.loss(labels.pointer, labelSmoothing: 0.1, classWeights: Self.classWeights)
        let lossSum = loss.result.lossSum
        try loss.backward()
        return lossSum
    }

    private static let classWeights = (0..<10).map { 0.5 + Double($0) / 8 }

    /// Prints a line per kind of number: its name, then the numbers.
    func report(_ step: String) {
        func line(_ kind: String, _ values: some Sequence<Float>) {
            print(([name, kind, step] + values.map { "\($0)" }).joined(separator: " "))
        }
        line("loss", [Float(loss)])
        line("logits", network.logits)
        line("gradients", network.gradients)
        line("statistics", network.runningStatistics)
        line("weights", network.parameters)
    }
}
