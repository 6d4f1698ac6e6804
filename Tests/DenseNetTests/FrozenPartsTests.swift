import DenseNetModel
import Kernels
import Support
import Testing

/// Networks of each kind: two or three blocks, both stems.
private let networks = [TinyNetwork.plain, .bottleneck, .imageNet]

extension TinyNetwork {
    /// The network whose parts before one are frozen.
    fileprivate func network(
        learningFrom first: Int, evaluating: Bool = false, capacity: Int? = nil, precision: Precision = .float32
    ) throws -> TrainableDenseNet {
        let network = try network(capacity: capacity, precision: precision)
        // Statistics that are not those of a new network, nor of a batch.
        for i in network.runningStatistics.indices { network.runningStatistics[i] += 0.01 * Float(i % 7) }
        try network.freeze(Array(configuration.networkParts[..<first]), evaluatingNorms: evaluating && first > 0)
        return network
    }

    /// For each part of the network.
    fileprivate var parts: Range<Int> { configuration.networkParts.indices }

    /// The end of the gradients of a part.
    fileprivate func end(_ part: Int) -> Int {
        ParameterTable(configuration).range(of: configuration.networkParts[part]).upperBound
    }
}

/// Counts what is summed over ranks.
private final class CountedSums: GlobalSums {
    var count = 0
    func sum(_ values: UnsafeMutableBufferPointer<Double>) { count += values.count }
}

/// Parts of a network that do not learn.
@Suite struct FrozenPartsTests {
    @Test(arguments: networks + TinyNetwork.dropout)
    func `what learns has the gradients of the whole network, bit for bit, and nothing before it has any`(
        _ tiny: TinyNetwork
    ) throws {
        let whole = try tiny.network(learningFrom: 0).run(tiny)
        for first in tiny.parts {
            let (network, end) = (try tiny.network(learningFrom: first), tiny.end(first))
            #expect(network.gradients.allSatisfy { $0 == 0 } && network.gradientEnd == end)
            network.gradients.update(repeating: .nan)
            var places: [Int] = []
            let found = try network.run(tiny) { places.append($0) }
            #expect(found.gradients[..<end] == whole.gradients[..<end], "from part \(first)")
            #expect(found.gradients[end...].allSatisfy(\.isNaN) && places.last == end, "from part \(first)")
            #expect(
                found.logits == whole.logits && found.statistics == whole.statistics && found.result == whole.result)
        }
    }

    @Test func `a frozen part behind one that learns passes gradients on`() throws {
        let tiny = TinyNetwork.bottleneck
        let whole = try tiny.network().run(tiny)
        for part in tiny.configuration.networkParts.dropFirst() {
            let network = try tiny.network()
            try network.freeze([part])
            #expect(try network.run(tiny) == whole, "\(part)")
        }
    }

    @Test(arguments: networks + TinyNetwork.dropout)
    func `with all features evaluated the forward pass is that of evaluation, and ranks sum nothing`(
        _ tiny: TinyNetwork
    ) throws {
        for precision in Precision.allCases {
            let network = try tiny.network(learningFrom: tiny.parts.count - 1, evaluating: true, precision: precision)
            let evaluated = try network.evaluate(tiny)
            let sums = CountedSums()
            let found = try network.run(tiny, sums: sums)
            #expect(found.logits == evaluated.logits && found.statistics == evaluated.statistics && sums.count == 0)
            #expect(found.gradients[..<tiny.end(tiny.parts.count - 1)].contains { $0 != 0 })
        }
    }

    /// As `GradientTests` compares the whole network's.
    @Test(arguments: networks + [TinyNetwork.all[6], .all[8]])
    func `with frozen parts evaluated gradients are the slopes of a float64 reference that evaluates these parts`(
        _ tiny: TinyNetwork
    ) throws {
        for first in tiny.parts.dropFirst() {
            let network = try tiny.network(learningFrom: first, evaluating: true)
            let reference = ReferenceNetwork(network)
            reference.evaluatedOffset = tiny.end(first)
            let found = try network.run(tiny)
            let (statistics, parameters) = (reference.statistics, reference.parameters)
            let logits = reference.forward(tiny.images, count: tiny.count, training: true)
            #expect(relativeDifference(found.logits, logits.map(Float.init)) < 1e-5, "from part \(first)")
            #expect(relativeDifference(found.statistics, reference.statistics.map(Float.init)) < 1e-5)
            for case .norm(let norm, _) in network.table.operations {
                let range = norm.runningMean.range
                let stayed = found.statistics[range].elementsEqual(statistics[range]) { Double($0) == $1 }
                #expect(stayed == (norm.weight.offset >= tiny.end(first)), "\(norm.runningMean.name)")
            }
            var random = CounterRandom(.synthetic, 65)
            for parameter in network.table.trainable where parameter.offset < tiny.end(first) {
                let gradient = found.gradients[parameter.range].map(Double.init)
                let direction = parameter.range.map { _ in random.normal() }
                func loss(_ step: Double) -> Double {
                    for (i, d) in zip(parameter.range, direction) { reference.parameters[i] = parameters[i] + step * d }
                    reference.statistics = statistics
                    let logits = reference.forward(tiny.images, count: tiny.count, training: true)
                    return reference.loss(logits, tiny.labels, tiny)
                }
                let slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
                reference.parameters = parameters
                let expected = zip(gradient, direction).reduce(0) { $0 + $1.0 * $1.1 }
                #expect(
                    abs(slope - expected) < 1e-3 * norm(gradient) + 1e-6,
                    "\(parameter.name) from part \(first): \(slope), \(expected)")
            }
        }
    }

    @Test(arguments: [[3, 2, 3], [5, 0], [0, 0, 2]])
    func `ranks compute what one rank would, even if one has no images`(_ split: [Int]) throws {
        let count = split.reduce(0, +)
        for tiny in [
            TinyNetwork(
                "BC", [2, 2], growth: 3, channels: 6, bottleneck: true, compression: 0.5, image: 8, count: count),
            TinyNetwork(
                "ImageNet, dropout", stem: .imagenet, [1, 1], growth: 4, channels: 8, dropout: 0.2, image: 20,
                count: count),
        ] {
            for first in tiny.parts.dropFirst() {
                let whole = try tiny.network(learningFrom: first, evaluating: true).run(tiny)
                let sums = ThreadSums(ranks: split.count)
                let parts = try onRanks(split.count) { rank in
                    let start = split[..<rank].reduce(0, +)
                    return try tiny.network(learningFrom: first, evaluating: true, capacity: split[rank]).run(
                        tiny, range: start..<start + split[rank], globalCount: count, sums: sums.rank(rank))
                }
                let gradients = whole.gradients.indices.map { i in parts.reduce(0) { $0 + $1.gradients[i] } }
                #expect(relativeDifference(gradients, whole.gradients) < 1e-5, "\(tiny) from part \(first)")
                #expect(relativeDifference(parts.flatMap(\.logits), whole.logits) < 1e-5)
                #expect(parts.allSatisfy { $0.statistics == parts[0].statistics })
                #expect(relativeDifference(parts[0].statistics, whole.statistics) < 1e-6)
            }
        }
    }

    @Test func `a number that is not finite in features without statistics is found in the logits`() throws {
        let tiny = TinyNetwork.bottleneck
        let network = try tiny.network(learningFrom: tiny.parts.count - 1, evaluating: true)
        _ = try network.run(tiny)
        #expect(network.firstNonfinite() == nil)
        var images = tiny.images
        images[0] = .infinity
        _ = try network.run(tiny, images: images)
        #expect(network.firstNonfinite()?.name == "the logits")
    }

    @Test func `parts have names, and lie one after the other in the flat buffers`() throws {
        let configuration = TinyNetwork.plain.configuration
        let (parts, table) = (configuration.networkParts, ParameterTable(configuration))
        let names = "stem block1 transition1 block2 transition2 block3 norm classifier"
        #expect(parts.map(\.rawValue).joined(separator: " ") == names)
        #expect(parts.map { NetworkPart(rawValue: $0.rawValue) } == parts && parts == parts.sorted())
        for name in ["", "block", "block01", "block+1", "block-1", "Stem", "block1x", "features1", "transition"] {
            #expect(NetworkPart(rawValue: name) == nil, "\(name)")
        }
        let ranges = parts.reversed().map { table.range(of: $0) }
        #expect(ranges.first?.lowerBound == 0 && ranges.last?.upperBound == table.parameterCount)
        for (one, next) in zip(ranges, ranges.dropFirst()) { #expect(one.upperBound == next.lowerBound) }
        for (part, prefix) in [
            (NetworkPart.stem, "features.conv0."), (.block(2), "features.denseblock2."),
            (.transition(1), "features.transition1."), (.norm, "features.norm5."), (.classifier, "classifier."),
            (.features, "features."),
        ] {
            for parameter in table.trainable {
                #expect(table.range(of: part).contains(parameter.range) == parameter.name.hasPrefix(prefix))
            }
        }
    }

    @Test(arguments: [
        (
            [NetworkPart.block(4)], false,
            "`freeze` names block4, but the network's parts are stem, block1, transition1, block2, transition2, block3, norm, "
                + "classifier; features is all but the classifier"
        ),
        (
            [.features, .classifier], false,
            "`freeze` names all parts of the network, so that nothing learns; leave the classifier out"
        ),
        ([], true, "`freezeNorm` is about the norms of frozen parts; name these by `freeze`, or leave it out"),
        (
            [.stem, .transition(1)], true,
            "`freezeNorm` wants the frozen parts to come before all that learns, but block1 learns and transition1 is frozen; "
                + "`freeze` block1 too, or leave one of the two out"
        ),
    ])
    func `parts that cannot be frozen are refused`(_ parts: [NetworkPart], evaluating: Bool, _ message: String) throws {
        let network = try TinyNetwork.plain.network()
        #expect(throws: Failure(.usage, message)) { try network.freeze(parts, evaluatingNorms: evaluating) }
    }
}
