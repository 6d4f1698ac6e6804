import DenseNetModel
import Support
import Testing

private let tinies = [TinyNetwork.plain, .bottleneck, .imageNet] + TinyNetwork.dropout

extension DenseNet {
    /// Statistics that differ between norms, as in networks trained elsewhere.
    fileprivate func setForeignStatistics() {
        var random = CounterRandom(.synthetic, 65)
        for parameter in table.runningStatistics {
            let isMean = parameter.name.hasSuffix(".running_mean")
            for i in parameter.range {
                runningStatistics[i] = isMean ? random.uniform(-0.5, 0.5) : random.uniform(0.3, 3)
            }
        }
    }
}

@Suite struct EvaluationTests {
    @Test(arguments: TinyNetwork.all)
    func `each norm uses its own running statistics, even if they disagree`(_ tiny: TinyNetwork) throws {
        let network = try tiny.network()
        network.setForeignStatistics()
        let reference = ReferenceNetwork(network)
        let logits = reference.forward(tiny.images, count: tiny.count, training: false)
        let found = try network.evaluate(tiny)
        #expect(relativeDifference(found.logits, logits.map(Float.init)) < 1e-5)
        #expect(
            found.statistics.elementsEqual(network.runningStatistics)
                && reference.statistics == found.statistics.map(Double.init))
    }

    @Test(arguments: tinies) func `a network for inference gives the logits of a trainable one`(_ tiny: TinyNetwork)
        throws
    {
        let training = try tiny.network()
        let evaluating = try tiny.evaluatingNetwork()
        training.setForeignStatistics()
        evaluating.setForeignStatistics()
        let first = try training.evaluate(tiny)
        let second = try evaluating.evaluate(tiny)
        #expect(first.logits == second.logits && first.result == second.result)
    }

    @Test(arguments: tinies) func `an image's logits in evaluation do not depend on the other images`(
        _ tiny: TinyNetwork
    )
        throws
    {
        let network = try tiny.network()
        let whole = try network.evaluate(tiny)
        for n in 0..<tiny.count {
            let alone = try network.evaluate(tiny, range: n..<n + 1)
            let classes = tiny.configuration.classes
            #expect(relativeDifference(alone.logits, whole.logits[n * classes..<(n + 1) * classes]) < 1e-5)
        }
    }

    @Test(arguments: tinies) func `a pass is a function of its input, to the bit`(_ tiny: TinyNetwork) throws {
        let network = try tiny.network()
        let statistics = Array(network.runningStatistics)
        var first = try network.run(tiny)
        var second = try network.run(tiny)
        // The statistics change each time and are not read in training.
        #expect(first.statistics != second.statistics)
        (first.statistics, second.statistics) = ([], [])
        #expect(first == second)
        _ = network.runningStatistics.update(from: statistics)
        let evaluated = try network.evaluate(tiny)
        _ = try network.run(tiny)
        _ = network.runningStatistics.update(from: statistics)
        #expect(try network.evaluate(tiny) == evaluated)
    }

    @Test(arguments: tinies)
    func `earlier batches, larger ones too, do not affect the results`(_ tiny: TinyNetwork)
        throws
    {
        let used = try tiny.network()
        // What one batch leaves behind must not reach the next; a NaN would.
        for pixel in [1, Float.nan] {
            _ = try used.run(tiny, images: tiny.images.map { $0 * pixel })
            _ = try used.evaluate(tiny, images: tiny.images.map { $0 * pixel })
            for count in Set([1, tiny.count / 2, tiny.count - 1]) where count > 0 {
                let fresh = try tiny.network()
                _ = used.runningStatistics.update(from: fresh.runningStatistics)
                #expect(
                    try used.run(tiny, range: 0..<count) == fresh.run(tiny, range: 0..<count), "\(count) after \(pixel)"
                )
                let evaluated = try fresh.evaluate(tiny, range: 0..<count)
                #expect(try used.evaluate(tiny, range: 0..<count) == evaluated)
            }
        }
    }

    @Test(arguments: tinies) func `a batch in a network of larger capacity gives the same results`(_ tiny: TinyNetwork)
        throws
    {
        // A different capacity may put more images side by side, which changes the order of sums.
        for capacity in [tiny.count, tiny.count + 1, 3 * tiny.count, 40] {
            let exact = try tiny.network().run(tiny)
            let roomy = try tiny.network(capacity: capacity).run(tiny)
            #expect(relativeDifference(exact.logits, roomy.logits) < 1e-5)
            #expect(relativeDifference(exact.gradients, roomy.gradients) < 1e-5)
        }
    }

    @Test func `a prediction is the first of the largest logits, and none if one is NaN`() throws {
        let tiny = TinyNetwork.plain
        let network = try tiny.network()
        for i in network.table.classifierWeight.range { network.parameters[i] = 0 }
        let bias = network.table.classifierBias.offset
        for (c, value) in [Float(1), 3, 2, 3].enumerated() { network.parameters[bias + c] = value }
        func evaluate() throws -> (first: Int?, result: BatchResult) {
            let predictions = try network.evaluate(tiny.images, count: tiny.count)
            return (predictions[0], predictions.loss(tiny.labels))
        }
        let (first, result) = try evaluate()
        #expect(first == 1 && result.correct == tiny.labels.count { $0 == 1 })
        network.parameters[bias + 3] = .nan
        let (none, broken) = try evaluate()
        #expect(none == nil && broken.correct == 0 && broken.lossSum.isNaN)
    }
}

@Suite struct NormMomentumTests {
    @Test(arguments: [0.001, 0.25, 1])
    func `a momentum is the weight of a new batch in the running statistics`(_ momentum: Double) throws {
        let tiny = TinyNetwork.plain
        let network = try tiny.network()
        let before = network.runningStatistics.map(Double.init)
        network.normMomentum = momentum
        let after = try network.run(tiny).statistics.map(Double.init)
        // A weight of 1 leaves the batch's own, which do not depend on those before.
        network.normMomentum = 1
        let batch = try network.run(tiny).statistics.map(Double.init)
        #expect(before != batch)
        for (index, own) in batch.enumerated() {
            let expected = (1 - momentum) * before[index] + momentum * own
            #expect(abs(after[index] - expected) <= 1e-6 * max(abs(before[index]), abs(own), 1e-3))
        }
    }
}

@Suite struct DropoutTests {
    @Test(arguments: TinyNetwork.dropout) func `dropout depends on seed, epoch and sample`(_ tiny: TinyNetwork) throws {
        let network = try tiny.network()
        func logits(seed: UInt64, epoch: Int) throws -> [Float] {
            try network.run(tiny, seed: seed, epoch: epoch).logits
        }
        let first = try logits(seed: 1, epoch: 1)
        #expect(try logits(seed: 1, epoch: 1) == first)
        #expect(try logits(seed: 2, epoch: 1) != first)
        #expect(try logits(seed: 1, epoch: 2) != first)
    }

    @Test(arguments: TinyNetwork.dropout) func `dropout is off in evaluation`(_ tiny: TinyNetwork) throws {
        var without = tiny.configuration
        without.dropout = 0
        let dry = try TrainableDenseNet(without, capacity: tiny.count)
        let network = try tiny.network()
        _ = dry.parameters.update(from: network.parameters)
        #expect(try network.evaluate(tiny).logits == dry.evaluate(tiny).logits)
        #expect(try network.run(tiny).logits != dry.run(tiny).logits)
    }

    @Test func `the mean of the dropped features is that of the kept ones`() throws {
        // One plain layer: after one step the running mean of its new channels is a tenth of their batch mean.
        let tiny = TinyNetwork("one layer", [1], growth: 16, channels: 4, dropout: 0.3, image: 16, count: 16)
        var without = tiny.configuration
        without.dropout = 0
        let dry = try TrainableDenseNet(without, capacity: tiny.count)
        let network = try tiny.network()
        _ = dry.parameters.update(from: network.parameters)
        let parameter = network.table.finalNorm.runningMean
        let new = parameter.offset + 4..<parameter.range.upperBound
        let dropped = try network.run(tiny).statistics[new].map(Double.init)
        let kept = try dry.run(tiny).statistics[new].map(Double.init)
        let firstVariance = network.table.finalNorm.runningVariance.offset + 4
        for c in 0..<16 {
            // The mean of 4096 elements, each with variance p/(1 − p)·E[x²]; running statistics have a tenth of it.
            let square = (Double(dry.runningStatistics[firstVariance + c]) - 0.9) * 10 + (kept[c] * 10) * (kept[c] * 10)
            let deviation = (square * 0.3 / 0.7 / 4096).squareRoot() / 10
            #expect(abs(dropped[c] - kept[c]) < 4.5 * deviation)
        }
        #expect(dropped != kept)
    }
}
