import DenseNetModel
import Kernels
import Support
import Testing

/// Splits of a batch over ranks; each adds up to the batch size.
private let splits = [[3, 3, 2], [5, 0], [1, 1, 1, 1], [0, 0, 2], [8]]

private func networks(_ count: Int) -> [TinyNetwork] {
    [
        TinyNetwork("plain", [2, 1], growth: 5, channels: 7, image: 9, count: count),
        TinyNetwork(
            "BC", [2, 2], growth: 3, channels: 6, bottleneck: true, compression: 0.5, image: 8, count: count,
            labelSmoothing: 0.1),
        TinyNetwork(
            "ImageNet", stem: .imagenet, [1, 1], growth: 4, channels: 8, bottleneck: true, compression: 0.7, image: 21,
            count: count),
        TinyNetwork(
            "BC, dropout", [1, 2], growth: 4, channels: 6, bottleneck: true, compression: 0.5, dropout: 0.2, image: 6,
            count: count),
        TinyNetwork("plain, dropout", [2, 1], growth: 3, channels: 5, dropout: 0.4, image: 7, count: count),
    ]
}

/// The results of each rank on its part of the batch.
private func run(_ tiny: TinyNetwork, split: [Int]) throws -> [PassResult] {
    let sums = ThreadSums(ranks: split.count)
    return try onRanks(split.count) { rank in
        let first = split[..<rank].reduce(0, +)
        return try tiny.network(capacity: split[rank]).run(
            tiny, range: first..<first + split[rank], globalCount: tiny.count, sums: sums.rank(rank))
    }
}

@Suite struct RankTests {
    @Test(arguments: splits) func `ranks compute what one rank would, even if one has no images`(_ split: [Int]) throws
    {
        for tiny in networks(split.reduce(0, +)) {
            let whole = try tiny.network().run(tiny)
            let parts = try run(tiny, split: split)
            #expect(relativeDifference(parts.flatMap(\.logits), whole.logits) < 1e-5, "\(tiny)")
            #expect(parts.reduce(0) { $0 + $1.result.correct } == whole.result.correct)
            #expect(abs(parts.reduce(0) { $0 + $1.result.lossSum } / whole.result.lossSum - 1) < 1e-5)
            let gradients = whole.gradients.indices.map { i in parts.reduce(0) { $0 + $1.gradients[i] } }
            let table = ParameterTable(tiny.configuration)
            #expect(relativeDifference(gradients, whole.gradients) < 1e-5, "\(tiny)")
            // A small tensor may be a difference of large numbers, such as γ before another norm, which cancels its
            // scale.
            for parameter in table.trainable {
                let difference = relativeDifference(gradients[parameter.range], whole.gradients[parameter.range])
                #expect(difference < 1e-3, "\(tiny) \(parameter.name)")
            }
            for part in parts {
                #expect(part.statistics == parts[0].statistics)
                #expect(relativeDifference(part.statistics, whole.statistics) < 1e-6)
            }
        }
    }

    @Test func `any number of threads gives the same bits`() throws {
        for tiny in networks(5) {
            let alone = try tiny.network().run(tiny)
            for threads in [2, 3, 9] {
                let network = try tiny.network(threads: threads)
                #expect(try network.run(tiny) == alone, "\(tiny) on \(threads) threads")
            }
        }
    }

    @Test func `five steps on three ranks give the weights of one rank`() throws {
        let tiny = TinyNetwork.bottleneck
        let split = [2, 0, 3]
        let exchange = ThreadSums(ranks: 3)
        @Sendable func train(_ rank: Int, of split: [Int], _ sums: any GlobalSums) throws -> [Float] {
            let network = try tiny.network(capacity: split[rank])
            let first = split[..<rank].reduce(0, +)
            let momentumBuffer = AlignedBuffer<Float>(count: network.parameters.count)
            let doubles = AlignedBuffer<Double>(count: network.parameters.count)
            for _ in 0..<5 {
                _ = try network.run(tiny, range: first..<first + split[rank], globalCount: tiny.count, sums: sums)
                for i in 0..<doubles.count { doubles.pointer[i] = Double(network.gradients[i]) }
                try sums.sum(doubles.elements)
                for i in 0..<doubles.count { network.gradients[i] = Float(doubles.pointer[i]) }
                sgdStep(
                    weights: network.parameters, gradients: network.gradients, momentumBuffer: momentumBuffer.elements,
                    learningRate: 0.05,
                    gradientScale: 1 / Float(tiny.count), momentum: 0.9, weightDecay: 1e-4, nesterov: true)
            }
            return Array(network.parameters) + Array(network.runningStatistics)
        }
        let whole = try train(0, of: [tiny.count], LocalSums())
        let parts = try onRanks(3) { try train($0, of: split, exchange.rank($0)) }
        #expect(parts[0] == parts[1] && parts[0] == parts[2])
        #expect(relativeDifference(parts[0], whole) < 1e-4)
    }

    @Test func `a rank without images has no loss and zero gradients, even if it had images before`() throws {
        for tiny in networks(3) {
            let exchange = ThreadSums(ranks: 2)
            let part = try onRanks(2) { rank in
                let network = try tiny.network()
                _ = try network.run(tiny)
                return try network.run(
                    tiny, range: rank == 0 ? 0..<3 : 3..<3, globalCount: 3, sums: exchange.rank(rank))
            }[1]
            #expect(part.logits.isEmpty && part.result.lossSum == 0 && part.result.correct == 0)
            #expect(part.gradients.allSatisfy { $0 == 0 }, "\(tiny)")
        }
    }
}
