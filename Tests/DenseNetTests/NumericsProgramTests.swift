import Kernels
import TestSupport
import Testing

/// Whether this build, including the test program, is optimized.
private var isOptimized: Bool {
    #if DEBUG
        false
    #else
        true
    #endif
}

/// Properties of a whole process.
@Suite struct NumericsProgramTests {
    private func output(_ arguments: [String], environment: [String: String?] = [:]) throws -> [[Substring]] {
        let result = try run(builtExecutable(named: "NumericsTestProgram"), arguments, environment: environment)
        try #require(result.status == 0, "\(result.errors)")
        return result.output.split(separator: "\n").map { $0.split(separator: " ") }
    }

    @Test(arguments: VectorLevel.allCases) func `a lower vector level gives the same numbers`(_ level: VectorLevel)
        throws
    {
        guard level < .best else { try Test.cancel("\(saying("this CPU has no level above \(level)"))") }
        let best = try output(["numbers"], environment: ["DENSENET_SIMD": nil])
        let lower = try output(["numbers"], environment: ["DENSENET_SIMD": "\(level)"])
        #expect(best[0] == ["level", "\(VectorLevel.best)"] && lower[0] == ["level", "\(level)"])
        #expect(best.count == lower.count && best.count > 40)
        for (first, second) in zip(best, lower).dropFirst() {
            #expect(first[..<3] == second[..<3])
            let numbers = first[3...].map { Float($0) ?? .nan }
            let others = second[3...].map { Float($0) ?? .nan }
            // In bfloat16 a factor halfway between two numbers may round either way.
            #expect(
                !numbers.isEmpty && relativeDifference(numbers, others) < (first[0] == "bf16" ? 0.1 : 1e-5),
                "\(first[..<3])")
        }
    }

    @Test(arguments: [1, 2]) func `a step and a background job allocate nothing`(_ threads: Int) throws {
        let counts = try output(["allocations", "\(threads)"])
        // A sanitizer has allocation functions of its own.
        guard counts != [["not", "counted"]] else { return }
        #expect(counts.count == 8)
        for line in counts {
            let steps = try #require(line.last.flatMap { Int($0) })
            // Without optimization the standard library's loops over arrays allocate, a few times per layer but not
            // once per panel.
            #expect(steps <= (isOptimized ? 0 : 300), "\(line.joined(separator: " ")) in ten steps")
        }
    }
}
