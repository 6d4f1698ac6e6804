import DenseNetModel
import Testing

@Suite struct WeightedLossTests {
    /// `cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)` of PyTorch 2.13 in float64, and what its
    /// `backward` gives for a bias that is all of the logits.
    private static let expected: [(smoothing: Double, loss: Double, gradient: [Double])] = [
        (
            0, 3.4966397232384163,
            [-0.21874549039490343, 0.5803099459087785, 0.24178251715880072, -0.603346972672676]
        ),
        (
            0.1, 3.409223730157456,
            [-0.21327685313503084, 0.565802197261059, 0.23573795422983068, -0.588263298355859]
        ),
    ]

    @Test(arguments: expected.indices)
    func `loss and gradient are those of PyTorch, with label smoothing and without`(_ index: Int) throws {
        let (tiny, weights) = (TinyNetwork.plain, [2, 0.5, 0, 4])
        let network = try tiny.network()
        for i in network.table.classifierWeight.range { network.parameters[i] = 0 }
        let bias = network.table.classifierBias.range
        for (place, value) in zip(bias, [1, 3, 2, -1] as [Float]) { network.parameters[place] = value }
        let expected = Self.expected[index]
        let sums = LocalSums()
        let pass = try network.forward(tiny.images, count: tiny.count, globalCount: tiny.count, sums: sums)
        let loss = pass.loss([1, 3, 0], labelSmoothing: expected.smoothing, classWeights: weights)
        let result = loss.result
        try loss.backward()
        #expect(result.weight == 6.5 && result.correct == 1)
        #expect(abs(result.lossSum / result.weight - expected.loss) < 1e-7)
        for (place, value) in zip(bias, expected.gradient) {
            #expect(abs(Double(network.gradients[place]) / result.weight - value) < 1e-7)
        }
    }

    @Test(arguments: [nil, [2, 0.5, 1, 4]] as [[Double]?])
    func `the loss of mixed images is the sum of that with each label, by its share`(weights: [Double]?) throws {
        let tiny = TinyNetwork.plain
        let network = try tiny.network()
        let (own, others): ([Int32], [Int32]) = ([1, 3, 0], [1, 0, 2])
        func run(_ own: [Int32], _ others: [Int32]? = nil, share: Double = 1) throws -> (BatchResult, [Float]) {
            try own.withUnsafeBufferPointer { own in
                try (others ?? []).withUnsafeBufferPointer { rest in
                    let labels = BatchLabels(
                        own.baseAddress!, others: others == nil ? nil : rest.baseAddress, ownShare: share)
                    let pass = try network.forward(
                        tiny.images, count: tiny.count, globalCount: tiny.count, sums: LocalSums())
                    let loss = pass.loss(labels, labelSmoothing: 0.1, classWeights: weights)
                    let result = loss.result
                    try loss.backward()
                    return (result, Array(network.gradients))
                }
            }
        }
        let (first, second) = (try run(own), try run(others))
        for share in [0, 0.3, 0.75, 1] {
            let (mixed, gradients) = try run(own, others, share: share)
            let expected = share * first.0.lossSum + (1 - share) * second.0.lossSum
            #expect(abs(mixed.lossSum - expected) < 1e-9)
            #expect(abs(mixed.weight - share * first.0.weight - (1 - share) * second.0.weight) < 1e-12)
            #expect(mixed.correct == (share >= 0.5 ? first.0.correct : second.0.correct))
            for (i, gradient) in gradients.enumerated() {
                let expected = Float(share) * first.1[i] + Float(1 - share) * second.1[i]
                #expect(abs(gradient - expected) <= 1e-5 * max(1, abs(expected)))
            }
        }
    }
}
