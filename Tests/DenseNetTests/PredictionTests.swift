import DenseNetModel
import Foundation
import Safetensors
import Support
import TestSupport
import Testing

@Suite struct PredictionTests {
    @Test func `probabilities are the softmax of the logits, for any capacity`() throws {
        let tiny = TinyNetwork.bottleneck
        let whole = try tiny.network()
        let single = try tiny.network(capacity: 1)
        _ = try whole.evaluate(tiny.images, count: tiny.count)
        let classes = tiny.configuration.classes
        let logits = Array(whole.logits.prefix(tiny.count * classes))
        let predictions = try whole.predict(tiny.images.span)
        let again = try single.predict(tiny.images.span)
        #expect(predictions.count == tiny.count && again.count == tiny.count)
        for (n, (prediction, other)) in zip(predictions, again).enumerated() {
            let powers = logits[n * classes..<(n + 1) * classes].map { exp(Double($0)) }
            let sum = powers.reduce(0, +)
            #expect(relativeDifference(prediction.probabilities, powers.map { Float($0 / sum) }) < 1e-6)
            #expect(relativeDifference(prediction.probabilities, other.probabilities) < 1e-5)
            #expect(abs(prediction.probabilities.reduce(0, +) - 1) < 1e-5)
            let best = prediction.best(classes + 1)
            #expect(best.count == classes && best[0].classIndex == prediction.classIndex)
            #expect(best.map(\.probability) == prediction.probabilities.sorted(by: >))
        }
    }

    @Test func `partial images and outputs that are not finite are refused`() throws {
        let tiny = TinyNetwork.plain
        let network = try tiny.network()
        func predict(_ images: [Float]) throws -> [Prediction] { try network.predict(images.span) }
        #expect(throws: Failure.self) { try predict(tiny.images.dropLast()) }
        #expect(try predict([]).isEmpty)
        for i in network.parameters.indices { network.parameters[i] = .nan }
        #expect(throws: Failure.self) { try predict(tiny.images) }
    }

    @Test func `a network is built from a weights file, unless the file does not say which`() throws {
        let folder = ScratchFolder()
        let tiny = TinyNetwork.imageNet
        let network = try tiny.network()
        try WeightsFile.write(network, to: folder("w.safetensors"))
        let loaded = try WeightsFile.network(from: folder("w.safetensors"), capacity: tiny.count)
        let predictions = try network.predict(tiny.images.span)
        let others = try loaded.predict(tiny.images.span)
        #expect(predictions == others)
        try SafetensorsWriter.write(to: folder("bare.safetensors"), tensors: WeightsFile.tensors(of: network))
        #expect(throws: Failure.self) { try WeightsFile.network(from: folder("bare.safetensors")) }
    }
}
