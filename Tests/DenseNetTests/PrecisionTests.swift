import Testing

/// The length of the difference of two vectors, relative to the second's.
private func distance(_ first: [Float], _ second: [Float]) -> Double {
    norm(zip(first, second).map { Double($0) - Double($1) }) / norm(second.map(Double.init))
}

@Suite struct PrecisionTests {
    @Test(arguments: TinyNetwork.all + TinyNetwork.dropout)
    func `a step in bfloat16 is that in float32, except for rounding`(_ tiny: TinyNetwork) throws {
        let exact = try tiny.network().run(tiny)
        let rounded = try tiny.network(precision: .bfloat16).run(tiny)
        let logits = distance(rounded.logits, exact.logits)
        let gradients = distance(rounded.gradients, exact.gradients)
        // A factor keeps 8 bits: its error is up to 1/512. Gradients change more where a ReLU switches.
        #expect(logits > 1e-5 && logits < 0.02, "\(logits)")
        #expect(gradients > 1e-5 && gradients < 0.2, "\(gradients)")
        #expect(relativeDifference(rounded.statistics, exact.statistics) < 0.02)
    }

    @Test(arguments: TinyNetwork.all) func `the number of threads does not matter in bfloat16 either`(
        _ tiny: TinyNetwork
    ) throws {
        let one = try tiny.network(precision: .bfloat16).run(tiny)
        #expect(try tiny.network(threads: 3, precision: .bfloat16).run(tiny) == one)
    }
}
