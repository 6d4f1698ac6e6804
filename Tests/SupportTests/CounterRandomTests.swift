import Support
import Testing

@Suite struct CounterRandomTests {
    @Test func `a stream is a function of its purpose and all its coordinates`() {
        func first(_ random: CounterRandom) -> UInt64 {
            var random = random
            return random.next()
        }
        #expect(first(CounterRandom(.weights, 1, 2, 3, 4)) == first(CounterRandom(.weights, 1, 2, 3, 4)))
        let streams = [
            CounterRandom(.weights, 1, 2, 3, 4), CounterRandom(.shuffle, 1, 2, 3, 4),
            CounterRandom(.weights, 2, 1, 3, 4),
            CounterRandom(.weights, 1, 3, 2, 4), CounterRandom(.weights, 1, 2, 4, 3),
            CounterRandom(.weights, 0, 2, 3, 4),
            CounterRandom(.weights, 1, 2, 3), CounterRandom(.weights, 1, 2), CounterRandom(.weights, 1),
            CounterRandom(.weights, 0),
        ]
        #expect(Set(streams.map(first)).count == streams.count)
    }

    @Test func `numbers have the moments of their distributions and stay within their bounds`() {
        var random = CounterRandom(.weights, 9)
        let count = 20_000.0
        let units = (0..<Int(count)).map { _ in Double(random.unit()) }
        #expect(units.allSatisfy { $0 >= 0 && $0 < 1 })
        #expect(abs(units.reduce(0, +) / count - 0.5) < 0.01)
        let normals = (0..<Int(count)).map { _ in random.normal() }
        for (power, moment) in [(1, 0.0), (2, 1), (3, 0), (4, 3)] {
            let found = normals.reduce(0) { sum, x in sum + (0..<power).reduce(1) { p, _ in p * x } } / count
            #expect(abs(found - moment) < 0.12, "moment \(power)")
        }
        let dice = (0..<Int(count)).map { _ in random.below(6) }
        for face in 0..<6 { #expect(abs(dice.count { $0 == face } - 3333) < 250) }
        #expect(dice.allSatisfy { (0..<6).contains($0) })
    }
}
