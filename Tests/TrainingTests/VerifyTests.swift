import FoundationEssentials
import Testing
import TestSupport

/// `densenet verify` on files of what PyTorch computes.
@Suite struct VerifyTests {
    static let golden = ["bc-small", "imagenet-stem-small", "plain-small", "seed-recipe"]
    static let quantities = ["logits", "gradient", "state after 1 step", "state after 3 steps", "losses", "eval logits"]

    private static func path(_ name: String) -> String {
        let folder = #filePath.prefix(upTo: #filePath.lastIndex(of: "/")!)
        return "\(folder)/Golden/\(name).safetensors"
    }

    private static var paths: [String] { golden.map(path) }

    /// Checks that every quantity of every file has been printed with a small error.
    private func check(_ job: ProgramResult, level: [String] = ["default", "v3", "v4", "v4-bf16"]) {
        #expect(job.status == 0, "\(job.output)\(job.errors)")
        var rest = job.output.lines[...]
        for path in Self.paths {
            let title = rest.popFirst() ?? ""
            #expect(title.hasPrefix("\(path): ") && level.contains { title.hasSuffix(" level \($0)") }, "\(title)")
            for quantity in Self.quantities {
                let line = rest.popFirst() ?? ""
                #expect(line.hasPrefix("  \(quantity) "), "\(line)")
                let error = line.split(separator: " ").last.flatMap { Double($0) } ?? .infinity
                #expect(error <= (["logits", "gradient"].contains(quantity) ? 1e-5 : 1e-4), "\(path): \(line)")
            }
        }
        #expect(rest.isEmpty, "\(rest)")
    }

    @Test(arguments: 1...4) func `this build computes what PyTorch does on any number of ranks`(ranks: Int) throws {
        check(try mpirun(ranks: ranks, program: "densenet", arguments: ["verify"] + Self.paths))
    }

    @Test(arguments: ["default", "v3", "v4"]) func `the loops for lesser CPUs compute the same`(level: String) throws {
        let job = try densenet(["verify"] + Self.paths, environment: ["DENSENET_SIMD": level])
        // The default is all there is on CPUs that are not x86-64.
        check(job, level: ["default", level])
    }

    @Test func `two threads a rank compute the same`() throws {
        check(try mpirun(ranks: 2, program: "densenet", arguments: ["verify", "--threads", "2"] + Self.paths))
    }

    @Test func `an error above the tolerance fails on all ranks, and is counted`() throws {
        let job = try densenet(["verify", "--tolerance", "1e-12", Self.path("bc-small")], ranks: 2)
        #expect(job.status == 1)
        #expect(job.output.lines.filter { $0.hasSuffix("  above 1.0e-12") }.count >= 5, "\(job.output)")
        #expect(job.errors.lines.filter { $0.hasPrefix("densenet: ") && $0.contains("differ from the reference") }.count == 1)
    }
}
