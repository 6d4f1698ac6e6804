import DenseNetModel
import Support
import Testing

/// Networks with six images, in groups of 1 to 6 of them.
private let networks = [
    TinyNetwork(
        "plain", [2, 1], growth: 5, channels: 7, image: 9, count: 6, labelSmoothing: 0.1,
        classWeights: [0.5, 3, 1, 0.25]),
    TinyNetwork(
        "BC, dropout", [2, 2], growth: 3, channels: 6, bottleneck: true, compression: 0.5, dropout: 0.3, image: 8,
        count: 6),
    TinyNetwork(
        "ImageNet", stem: .imagenet, [1, 1], growth: 4, channels: 8, bottleneck: true, compression: 0.7, image: 21,
        count: 6),
]

extension TinyNetwork {
    /// Gradients, running statistics and result of the images `range`, in groups of `size`; without logits.
    fileprivate func grouped(
        _ size: Int, range: Range<Int>? = nil, threads: Int = 1, most: Int? = nil, evaluating: [NetworkPart] = [],
        sums: any GlobalSums = LocalSums(), ready: (TrainableDenseNet, Int) throws -> Void = { _, _ in }
    ) throws -> PassResult {
        let range = range ?? 0..<count
        let network = try network(capacity: size, threads: threads)
        try network.freeze(evaluating, evaluatingNorms: !evaluating.isEmpty)
        let groups = ImageGroups(of: network, size: size, most: most ?? range.count)
        let (images, labels, samples) = (images + [0], labels + [0], samples + [0])
        let result = try images.withUnsafeBufferPointer { images in
            try labels.withUnsafeBufferPointer { labels in
                try samples.withUnsafeBufferPointer { samples in
                    try groups.gradients(
                        images.baseAddress! + range.lowerBound * pixels,
                        labels: BatchLabels(labels.baseAddress! + range.lowerBound), count: range.count,
                        globalCount: count, labelSmoothing: labelSmoothing,
                        classWeights: classWeights, dropout: (1, 1, samples.baseAddress! + range.lowerBound),
                        ready: { try ready(network, $0) })
                }
            }
        }
        try groups.moveRunningStatistics(sums)
        return withExtendedLifetime(network) {
            PassResult(
                logits: [], result: result, gradients: Array(network.gradients),
                statistics: Array(network.runningStatistics))
        }
    }
}

/// Batch statistics of groups of a rank's images.
@Suite struct ImageGroupsTests {
    @Test func `one group of all images is the whole batch, bit for bit`() throws {
        for tiny in networks {
            var whole = try tiny.network().run(tiny)
            whole.logits = []
            #expect(try tiny.grouped(tiny.count) == whole, "\(tiny)")
        }
    }

    @Test(arguments: [1, 2, 4])
    func `gradients are the sum, and running statistics the mean, of those of each group alone`(_ size: Int) throws {
        for tiny in networks {
            let network = try tiny.network()
            let before = withExtendedLifetime(network) { Array(network.runningStatistics) }
            let grouped = try tiny.grouped(size)
            var (gradients, statistics) = (
                [Double](repeating: 0, count: grouped.gradients.count), before.map { _ in 0.0 }
            )
            var (lossSum, correct) = (0.0, 0)
            for first in stride(from: 0, to: tiny.count, by: size) {
                let range = first..<min(first + size, tiny.count)
                let alone = try tiny.network(capacity: size).run(tiny, range: range)
                let share = Double(range.count) / Double(tiny.count)
                for i in gradients.indices { gradients[i] += Double(alone.gradients[i]) }
                for i in statistics.indices { statistics[i] += share * Double(alone.statistics[i]) }
                lossSum += alone.result.lossSum
                correct += alone.result.correct
            }
            #expect(relativeDifference(grouped.gradients, gradients.map { Float($0) }) < 1e-6, "\(tiny)")
            #expect(relativeDifference(grouped.statistics, statistics.map { Float($0) }) < 1e-6, "\(tiny)")
            #expect(grouped.result.lossSum == lossSum && grouped.result.correct == correct)
            let whole = try tiny.network().run(tiny)
            #expect(
                relativeDifference(grouped.gradients, whole.gradients) > 1e-3, "groups have statistics of their own")
        }
    }

    @Test(arguments: [[4, 2], [2, 2, 2], [6, 0], [2, 0, 4]])
    func `ranks that have whole groups compute what one rank would, even if one has none`(_ split: [Int]) throws {
        for tiny in networks {
            let one = try tiny.grouped(2)
            let sums = ThreadSums(ranks: split.count)
            let parts = try onRanks(split.count) { rank in
                let first = split[..<rank].reduce(0, +)
                return try tiny.grouped(2, range: first..<first + split[rank], most: 6, sums: sums.rank(rank))
            }
            let gradients = one.gradients.indices.map { i in parts.reduce(0) { $0 + $1.gradients[i] } }
            #expect(relativeDifference(gradients, one.gradients) < 1e-5, "\(tiny)")
            #expect(parts.allSatisfy { $0.statistics == parts[0].statistics })
            #expect(relativeDifference(parts[0].statistics, one.statistics) < 1e-6, "\(tiny)")
            #expect(abs(parts.reduce(0) { $0 + $1.result.lossSum } / one.result.lossSum - 1) < 1e-12)
        }
    }

    @Test func `any number of threads gives the same bits`() throws {
        for tiny in networks {
            let alone = try tiny.grouped(4)
            for threads in [2, 3] { #expect(try tiny.grouped(4, threads: threads) == alone, "\(tiny)") }
        }
    }

    @Test func `what is reported as ready is the final sum, from front to back`() throws {
        for tiny in networks {
            var (seen, end): ([Float], Int) = ([], 0)
            let grouped = try tiny.grouped(2) { network, offset in
                #expect(offset >= end)
                seen += network.gradients[end..<offset]
                end = offset
            }
            #expect(seen == grouped.gradients, "\(tiny)")
        }
    }

    @Test func `frozen parts that are evaluated keep their running statistics, and the others move theirs`() throws {
        for tiny in networks {
            let table = ParameterTable(tiny.configuration)
            let fresh = try tiny.network()
            let before = withExtendedLifetime(fresh) { Array(fresh.runningStatistics) }
            let fixed = table.blocks[1][0].norm.runningMean.offset
            let frozen: [NetworkPart] = [.stem, .block(1), .transition(1)]
            let grouped = try tiny.grouped(4, evaluating: frozen)
            #expect(grouped.statistics[..<fixed] == before[..<fixed], "\(tiny)")
            #expect(zip(grouped.statistics, before).dropFirst(fixed).allSatisfy { $0 != $1 }, "\(tiny)")
            try fresh.freeze(frozen, evaluatingNorms: true)
            var whole = try fresh.run(tiny)
            whole.logits = []
            #expect(try tiny.grouped(tiny.count, evaluating: frozen) == whole, "\(tiny)")
            #expect(try tiny.grouped(4, evaluating: [.features]).statistics == before, "\(tiny)")
        }
    }

    @Test func `groups end behind the first one that is not finite, which leaves its numbers to be searched`()
        throws
    {
        let tiny = networks[0]
        let network = try tiny.network(capacity: 2)
        let groups = ImageGroups(of: network, size: 2, most: 6)
        var images = tiny.images
        images[3 * tiny.pixels] = .infinity
        var reports = 0
        _ = try tiny.labels.withUnsafeBufferPointer { labels in
            try groups.gradients(images, labels: BatchLabels(labels.baseAddress!), count: 6, globalCount: 6) { _ in
                reports += 1
            }
        }
        #expect(!groups.isComplete && reports == 0)
        #expect(network.firstNonfinite()?.name == "the output of features.conv0")
    }
}
