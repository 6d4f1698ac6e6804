import DenseNetModel
import Kernels
import Support

/// Times a training step of DenseNet-121 at 224×224 that trains the classifier alone, its features frozen and evaluated,
/// in turn with a forward pass in evaluation of the same images.
enum FreezingCost {
    private static let classes = 10
    private static let size = 224

    /// Prints the ratio of each pair, and the median of all.
    ///
    /// - Parameters:
    ///   - count: images of a step.
    ///   - pairs: how many are timed, after one that is not.
    static func report(images count: Int, threads: Int, pairs: Int) throws {
        var configuration = try DenseNetConfiguration(model: "densenet121")
        (configuration.classes, configuration.image) = (classes, size)
        let network = try TrainableDenseNet(configuration, capacity: count, threads: threads)
        let evaluating = try DenseNet(sharingWeightsOf: network, imageSize: network.imageSize)
        network.initialize(seed: 1)
        try network.freeze([.features], evaluatingNorms: true)
        let learning = 0..<network.gradientEnd
        let momenta = AlignedBuffer<Float>(count: learning.count)
        let images = AlignedBuffer<Float>(count: count * 3 * size * size)
        let labels = AlignedBuffer<Int32>(count: count)
        var random = CounterRandom(.synthetic, 1)
        for i in 0..<images.count { images.pointer[i] = Float(random.normal()) }
        for n in 0..<count { labels.pointer[n] = Int32(random.below(classes)) }
        func step() throws {
            let pass = try network.forward(images.pointer, count: count, globalCount: count, sums: LocalSums())
            try pass.loss(labels.pointer).backward()
            sgdStep(
                weights: UnsafeMutableBufferPointer(rebasing: network.parameters[learning]),
                gradients: UnsafeMutableBufferPointer(rebasing: network.gradients[learning]),
                momentumBuffer: momenta.elements, learningRate: 0.01, gradientScale: 1 / Float(count), momentum: 0.9,
                weightDecay: 1e-4, nesterov: true)
        }
        func seconds(_ body: () throws -> Void) rethrows -> Double {
            let began = monotonicSeconds()
            try body()
            return monotonicSeconds() - began
        }
        var ratios: [Double] = []
        for pair in 0...pairs {
            let forward = try seconds { _ = try evaluating.evaluate(images.pointer, count: count) }
            let whole = try seconds(step)
            guard pair > 0 else { continue }
            ratios.append(whole / forward)
            print("evaluation \(forward) s, step \(whole) s, ratio \(whole / forward)")
        }
        print("median of \(pairs) ratios, \(count) images, \(threads) threads: \(ratios.sorted()[pairs / 2])")
    }
}
