import Testing
import TestSupport

/// Whether this build, and with it the test program, is optimised.
private var isOptimized: Bool {
    #if DEBUG
    false
    #else
    true
    #endif
}

/// Properties of a whole process.
@Suite struct NumericsProgramTests {
    private func output(_ arguments: [String], level: String? = nil) throws -> [[Substring]] {
        let result = try run(builtExecutable(named: "NumericsTestProgram"), arguments, environment: ["DENSENET_SIMD": level])
        try #require(result.status == 0, "\(result.errors)")
        return result.output.split(separator: "\n").map { $0.split(separator: " ") }
    }

    @Test(arguments: ["default", "v3", "v4"]) func `a lower vector level gives the same numbers`(_ level: String) throws {
        let best = try output(["numbers"]), lower = try output(["numbers"], level: level)
        #expect(lower[0] == ["level", "\(level)"] || lower[0] == best[0], "no higher level than was asked for")
        #expect(best.count == lower.count && best.count > 40)
        for (first, second) in zip(best, lower).dropFirst() {
            #expect(first[..<3] == second[..<3])
            let numbers = first[3...].map { Float($0) ?? .nan }, others = second[3...].map { Float($0) ?? .nan }
            // In bfloat16 a factor on the border between two numbers may fall to either side.
            #expect(!numbers.isEmpty && relativeDifference(numbers, others) < (first[0] == "bf16" ? 0.1 : 1e-5), "\(first[..<3])")
        }
    }

    @Test(arguments: [1, 2]) func `a step allocates nothing`(_ threads: Int) throws {
        let counts = try output(["allocations", "\(threads)"])
        // A sanitizer allocates by its own functions.
        guard counts != [["not", "counted"]] else { return }
        #expect(counts.count == 5)
        for line in counts {
            let steps = try #require(line.last.flatMap { Int($0) })
            // Without optimisation the standard library's loops over arrays take memory, a few times a layer; but not once a panel.
            #expect(steps <= (isOptimized ? 0 : 300), "\(line.joined(separator: " ")) in ten steps")
        }
    }
}
