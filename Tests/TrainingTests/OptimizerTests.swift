import DenseNetModel
import Support
import Testing

@testable import Training

@Suite struct OptimizerTests {
    private static let configuration = OptimizerConfiguration(momentum: 0.9, weightDecay: 0.1, decaysNorms: false)

    /// The network, its optimizer and gradients after two steps by rates of 0.1 and 0.05, and the weights before.
    private func steps(
        freezing frozen: [NetworkPart], rateFactors: [NetworkPart: Double], parts: ((Int) -> [Range<Int>])
    ) throws -> (network: TrainableDenseNet, momenta: [Float], gradients: [Float], before: [Float]) {
        let network = try TrainableDenseNet(
            DenseNetConfiguration(
                stem: .cifar, blocks: [1, 2, 1], growthRate: 4, stemChannels: 5, bottleneck: true, compression: 0.5,
                classes: 10, image: 8), capacity: 1)
        network.initialize(seed: 1)
        try network.freeze(frozen)
        let gradients = AlignedBuffer<Float>(count: network.table.parameterCount)
        var random = CounterRandom(.synthetic, 1)
        for i in 0..<gradients.count { gradients.pointer[i] = random.uniform(-1, 1) }
        let before = Array(network.parameters)
        let optimizer = Optimizer(
            Self.configuration, of: network, momentumBuffer: AlignedBuffer(count: gradients.count),
            gradients: gradients, parts: parts(gradients.count), rateFactors: rateFactors, average: nil)
        for rate in [0.1, 0.05] { optimizer.step(rate: rate, weight: 4) }
        return (network, Array(optimizer.momentumBuffer.elements), Array(gradients.elements), before)
    }

    @Test func `each part moves by its own rate, with its decay, and what is frozen not at all`() throws {
        let factors: [NetworkPart: Double] = [.classifier: 3, .block(2): 0.5, .norm: 2]
        let (network, momenta, gradients, before) = try steps(
            freezing: [.stem, .transition(2)], rateFactors: factors, parts: { [0..<$0] })
        let named = ["classifier.": 3.0, "features.denseblock2.": 0.5, "features.norm5.": 2]
        for parameter in network.table.trainable {
            let names = ["features.conv0.", "features.transition2."]
            let isFrozen = names.contains(where: parameter.name.hasPrefix)
            let factor = named.first { parameter.name.hasPrefix($0.key) }?.value ?? 1
            for i in parameter.range {
                var (weight, momentum) = (Double(before[i]), 0.0)
                for rate in [0.1, 0.05] where !isFrozen {
                    let gradient = Double(gradients[i]) / 4 + (parameter.isWeight ? 0.1 * weight : 0)
                    momentum = 0.9 * momentum + gradient
                    weight -= factor * rate * (gradient + 0.9 * momentum)
                }
                #expect(abs(Double(network.parameters[i]) - weight) < 1e-6, "\(parameter.name)")
                #expect(abs(Double(momenta[i]) - momentum) < 1e-6, "\(parameter.name)")
                if isFrozen { #expect(network.parameters[i].bitPattern == before[i].bitPattern) }
            }
        }
    }

    @Test func `ranks that each move their parts move all of it once`() throws {
        let factors: [NetworkPart: Double] = [.classifier: 3, .block(2): 0.5]
        let whole = try steps(freezing: [.block(1)], rateFactors: factors, parts: { [0..<$0] })
        let cut = try steps(freezing: [.block(1)], rateFactors: factors) { count in
            [0..<7, 7..<count / 3, count / 3..<count / 2, count / 2..<count]
        }
        #expect(whole.network.parameters.elementsEqual(cut.network.parameters) && whole.momenta == cut.momenta)
        let some = try steps(freezing: [.block(1)], rateFactors: factors) { [16..<32, 48..<$0 / 2] }
        for i in whole.before.indices {
            let isMoved = (16..<32).contains(i) || (48..<whole.before.count / 2).contains(i)
            #expect(some.network.parameters[i] == (isMoved ? whole.network.parameters[i] : whole.before[i]))
        }
    }
}
