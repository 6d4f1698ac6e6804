import Support
import Testing

@testable import ImageData

@Suite struct SamplerTests {
    @Test(arguments: 1...5) func `every sample is used once per epoch`(worldSize: Int) throws {
        for (samples, batch) in [(103, 16), (96, 16), (17, 16), (5, 16), (10, 3)] {
            let sampler = try Sampler(
                sampleCount: samples, globalBatch: batch, worldSize: worldSize, seed: 7, shuffle: true)
            let order = sampler.order(epoch: 3)
            var used: [Int32] = []
            for step in 0..<sampler.stepsPerEpoch {
                let parts = (0..<worldSize).map { sampler.localRange(step: step, rank: $0) }
                #expect(parts.reduce(0) { $0 + $1.count } == sampler.globalCount(step: step))
                for (rank, part) in parts.enumerated() {
                    #expect(part.count <= sampler.maximumLocalBatchSize(rank: rank))
                    used += order[part]
                }
            }
            // Not only as a set: in rank order, the ranks' parts are the epoch's order.
            #expect(used == order)
            #expect(used.sorted() == [Int32](0..<Int32(samples)))
        }
    }

    @Test func `8 samples over 3 ranks are 3, 3 and 2`() throws {
        let sampler = try Sampler(sampleCount: 18, globalBatch: 8, worldSize: 3, seed: 1, shuffle: true)
        #expect((0..<3).map { sampler.localRange(step: 0, rank: $0) } == [0..<3, 3..<6, 6..<8])
        #expect((0..<3).map(sampler.maximumLocalBatchSize(rank:)) == [3, 3, 2])
        #expect(sampler.stepsPerEpoch == 3 && sampler.globalCount(step: 2) == 2)
        #expect((0..<3).map { sampler.localRange(step: 2, rank: $0) } == [16..<17, 17..<18, 18..<18])
    }

    @Test func `units of a batch stay together, and are the same on any number of ranks`() throws {
        // Batches of 12, the last of 7: units of 4, 4 and 4, and of 4 and 3.
        let parts: [[[Range<Int>]]] = try (1...3).map { ranks in
            let sampler = try Sampler(
                sampleCount: 31, globalBatch: 12, worldSize: ranks, seed: 1, shuffle: true, unit: 4)
            #expect(sampler.maximumLocalBatchSize(rank: 0) == [12, 8, 4][ranks - 1])
            return (0..<3).map { step in (0..<ranks).map { sampler.localRange(step: step, rank: $0) } }
        }
        #expect(parts[0] == [[0..<12], [12..<24], [24..<31]])
        #expect(parts[1] == [[0..<8, 8..<12], [12..<20, 20..<24], [24..<28, 28..<31]])
        #expect(parts[2][0] == [0..<4, 4..<8, 8..<12] && parts[2][2] == [24..<28, 28..<31, 31..<31])
    }

    @Test func `the order differs between epochs and seeds, and is reproducible`() throws {
        let sampler = try Sampler(sampleCount: 50, globalBatch: 8, worldSize: 1, seed: 1, shuffle: true)
        let other = try Sampler(sampleCount: 50, globalBatch: 8, worldSize: 1, seed: 2, shuffle: true)
        #expect(sampler.order(epoch: 1) == sampler.order(epoch: 1))
        #expect(sampler.order(epoch: 1) != sampler.order(epoch: 2))
        #expect(sampler.order(epoch: 1) != other.order(epoch: 1))
        #expect(sampler.order(epoch: 1).sorted() == sampler.order(epoch: 2).sorted())
    }

    @Test func `all orders of three samples are equally likely`() throws {
        let sampler = try Sampler(sampleCount: 3, globalBatch: 1, worldSize: 1, seed: 5, shuffle: true)
        var counts: [[Int32]: Int] = [:]
        for epoch in 1...6000 { counts[sampler.order(epoch: epoch), default: 0] += 1 }
        // Six bins of 1000: a deviation of 150 is five standard deviations.
        #expect(counts.count == 6 && counts.values.allSatisfy { abs($0 - 1000) < 150 })
    }

    @Test func `without shuffling the order is the set's`() throws {
        let sampler = try Sampler(sampleCount: 5, globalBatch: 2, worldSize: 1, seed: 1, shuffle: false)
        #expect(sampler.order(epoch: 4) == [0, 1, 2, 3, 4])
    }

    @Test func `sizes below one are refused`() {
        for (samples, batch, ranks) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
            let error = #expect(throws: Failure.self) {
                try Sampler(sampleCount: samples, globalBatch: batch, worldSize: ranks, seed: 1, shuffle: true)
            }
            #expect(error?.kind == .usage)
        }
    }
}
