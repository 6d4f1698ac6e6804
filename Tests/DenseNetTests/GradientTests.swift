import Support
import Testing

@Suite struct GradientTests {
    @Test(arguments: TinyNetwork.all)
    func `forward in training is the paper's network, including batch statistics`(_ tiny: TinyNetwork) throws {
        let network = try tiny.network()
        let reference = ReferenceNetwork(network)
        let found = try network.run(tiny, backward: false)
        let logits = reference.forward(tiny.images, count: tiny.count, training: true)
        #expect(relativeDifference(found.logits, logits.map(Float.init)) < 1e-5)
        let loss = reference.loss(logits, tiny.labels, tiny)
        #expect(abs(found.result.lossSum / loss - 1) < 1e-5)
        #expect(relativeDifference(found.statistics, reference.statistics.map(Float.init)) < 1e-5)
        let classes = tiny.configuration.classes
        let correct = tiny.labels.enumerated().count { n, label in
            let row = logits[n * classes..<(n + 1) * classes]
            return row.firstIndex(of: row.max()!)! - row.startIndex == Int(label)
        }
        #expect(found.result.correct == correct)
    }

    /// Central differences of the reference are exact to nine digits: the tolerance is for the network's float32 only.
    @Test(arguments: TinyNetwork.all)
    func `each tensor's gradient is the slope of the float64 reference`(_ tiny: TinyNetwork) throws {
        let network = try tiny.network()
        let reference = ReferenceNetwork(network)
        let gradients = try network.run(tiny).gradients.map(Double.init)
        var random = CounterRandom(.synthetic, 63)
        let parameters = reference.parameters
        let images = tiny.images
        let labels = tiny.labels
        for parameter in network.table.trainable {
            let gradient = gradients[parameter.range]
            let direction = parameter.range.map { _ in random.normal() }
            func loss(_ step: Double) -> Double {
                for (i, d) in zip(parameter.range, direction) { reference.parameters[i] = parameters[i] + step * d }
                let logits = reference.forward(images, count: tiny.count, training: true)
                return reference.loss(logits, labels, tiny)
            }
            let slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
            reference.parameters = parameters
            let expected = zip(gradient, direction).reduce(0) { $0 + $1.0 * $1.1 }
            #expect(abs(slope - expected) < 1e-3 * norm(gradient) + 1e-6, "\(parameter.name): \(slope), \(expected)")
        }
    }

    /// The network against itself, including dropout. Its forward pass is float32, so the step is coarse, and ReLUs and
    /// pools switch within it.
    @Test(arguments: TinyNetwork.all + TinyNetwork.dropout)
    func `the gradient is the slope of the network's own loss`(_ tiny: TinyNetwork) throws {
        let network = try tiny.network()
        let gradients = try network.run(tiny).gradients.map(Double.init)
        let parameters = Array(network.parameters)
        var random = CounterRandom(.synthetic, 64)
        func slope(_ direction: [(place: Int, Double)], _ step: Double) throws -> Double {
            func loss(_ step: Double) throws -> Double {
                for (i, d) in direction { network.parameters[i] = Float(Double(parameters[i]) + step * d) }
                return try network.run(tiny, backward: false).result.lossSum
            }
            let slope = try (loss(step) - loss(-step)) / (2 * step)
            for (i, _) in direction { network.parameters[i] = parameters[i] }
            return slope
        }
        // A random half of a tensor's gradient is a direction that reveals an error in that half.
        for ranges in [[0..<gradients.count]] + network.table.trainable.map({ [$0.range] }) {
            let direction = ranges.joined().filter { _ in random.below(2) == 0 }.map { (place: $0, gradients[$0]) }
            let length = norm(direction.map(\.1))
            guard length > 0 else { continue }
            let found = try slope(direction.map { ($0.place, $0.1 / length) }, 1e-3)
            #expect(abs(found - length) < 0.05 * length + 5e-3, "\(ranges): \(found), \(length)")
        }
    }

    @Test(arguments: [TinyNetwork.plain, .bottleneck, .imageNet] + TinyNetwork.dropout)
    func `a gradient is final when it is announced, and offsets only increase`(_ tiny: TinyNetwork) throws {
        let network = try tiny.network()
        network.gradients.update(repeating: .nan)
        var places = [0]
        var announced: [Float] = []
        let final = try network.run(tiny) { place in
            announced += network.gradients[places[places.count - 1]..<place]
            places.append(place)
        }
        #expect(
            places == places.sorted() && Set(places).count == places.count
                && places.last == network.table.parameterCount)
        #expect(announced == final.gradients && announced.allSatisfy(\.isFinite))
        let layers = tiny.configuration.blocks.reduce(0, +)
        #expect(
            places.count - 1 == layers + tiny.configuration.blocks.count + 1, "each layer is announced when it is done")
    }

    @Test func `an error in the middle of backward is thrown`() throws {
        let tiny = TinyNetwork.plain
        let network = try tiny.network()
        #expect(throws: Failure(.unavailable, "gone")) {
            try network.run(tiny) { if $0 > 500 { throw Failure(.unavailable, "gone") } }
        }
    }
}
