import FoundationEssentials
import Kernels
import Support
import TestSupport
import Testing

@testable import Training

/// `densenet verify` on PyTorch's results.
@Suite struct VerifyTests {
    static let golden = ["bc-wide", "bc", "groups", "imagenet-stem", "plain", "strided", "writeup"]
    static let quantities = [
        "logits", "gradient", "state after 1 step", "state after 3 steps", "losses", "eval logits",
    ]

    /// Where the build puts the files.
    private static func path(_ name: String) throws -> String {
        let program = try builtExecutable(named: "densenet")
        return program.prefix(upTo: program.lastIndex(of: "/")!)
            + "/densenet_GoldenFiles.resources/Golden/\(name).safetensors"
    }

    /// Checks that every quantity of every file is printed with a small error.
    private func check(_ job: ProgramResult, ranks: Int = 1, level: VectorLevel = .current, files: [String] = golden)
        throws
    {
        #expect(job.status == 0, "\(job.output)\(job.errors)")
        var rest = job.output.lines[...]
        #expect(rest.popFirst() == "\(ranks) rank\(ranks > 1 ? "s" : ""), vector level \(level), \(processorName())")
        for file in files {
            #expect(try rest.popFirst().map(String.init) == Self.path(file))
            for quantity in Self.quantities where file != "groups" || quantity != "logits" {
                let line = rest.popFirst() ?? ""
                #expect(line.hasPrefix("  \(quantity) "), "\(line)")
                let error = line.split(separator: " ").last.flatMap { Double($0) } ?? .infinity
                #expect(error <= 1e-5, "\(file): \(line)")
            }
        }
        #expect(rest.isEmpty, "\(rest)")
    }

    @Test(arguments: 1...4) func `this build computes what PyTorch does on any number of ranks`(ranks: Int) throws {
        try check(mpirun(ranks: ranks, program: "densenet", arguments: ["verify"]), ranks: ranks)
    }

    @Test(arguments: VectorLevel.allCases) func `all vector levels compute the same`(level: VectorLevel)
        throws
    {
        guard level <= .best else { try Test.cancel("\(saying("this CPU has no \(level)"))") }
        try check(densenet(["verify"], environment: ["DENSENET_SIMD": "\(level)"]), level: level)
    }

    @Test func `two threads per rank compute the same`() throws {
        try check(mpirun(ranks: 2, program: "densenet", arguments: ["verify", "--threads", "2"]), ranks: 2)
    }

    @Test func `a level above the CPU's selects its best, and only the named files are used`() throws {
        let job = try densenet(
            ["verify", Self.path("plain")], environment: ["DENSENET_SIMD": "\(VectorLevel.allCases.last!)"])
        try check(job, level: .best, files: ["plain"])
    }

    @Test(arguments: [["train"], ["verify"], ["describe", "densenet121"]])
    func `an unknown level is refused once, with the names of the known ones`(arguments: [String]) throws {
        let job = try mpirun(
            ranks: 2, program: "densenet", arguments: arguments, environment: ["DENSENET_SIMD": "bogus"], quiet: true,
            timeout: 10)
        #expect(job.status == Failure.Kind.usage.rawValue && job.output.isEmpty)
        let names = VectorLevel.allCases.map(\.description).joined(separator: ", ")
        #expect(job.errors.lines.count == 1, "\(job.errors)")
        #expect(
            job.errors.hasPrefix("densenet: DENSENET_SIMD is 'bogus', expected ") && job.errors.contains("(\(names))"))
    }

    @Test func `a deviation above the tolerance fails on all ranks, and is counted`() throws {
        let job = try densenet(["verify", "--tolerance", "1e-12", Self.path("bc")], ranks: 2)
        #expect(job.status == 1)
        #expect(job.output.lines.filter { $0.hasSuffix("  above 1.0e-12") }.count >= 5, "\(job.output)")
        #expect(
            job.errors.lines.filter { $0.hasPrefix("densenet: ") && $0.contains("differ from the reference") }.count
                == 1)
    }

    @Test func `a program away from its build asks for files`() throws {
        let scratch = ScratchFolder()
        // By cp: if this process wrote the file, a child started meanwhile by another thread would hold it open, and it
        // could not be run.
        try #require(run("cp", [builtExecutable(named: "densenet"), scratch("densenet")]).status == 0)
        let job = try withJobSlot {
            try run(
                "mpirun", ["--allow-run-as-root", "--oversubscribe", "-q", "-n", "2", scratch("densenet"), "verify"])
        }
        #expect(job.status == Failure.Kind.noInput.rawValue && job.errors.lines.count == 1, "\(job.errors)")
        #expect(
            job.errors.contains(scratch("densenet_GoldenFiles.resources"))
                && job.errors.contains("densenet verify FILE"))
    }

    @Test func `a CPU is called by its model name or, without one, by the numbers available`() {
        let x86 = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some CPU @ 2 GHz\nflags\t: a\n"
        #expect(processorName(inCPUInfo: x86) == "Some CPU @ 2 GHz")
        let arm64 = "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n"
        #expect(processorName(inCPUInfo: arm64) == "CPU implementer 0x41, part 0xd0c")
        #expect(processorName(inCPUInfo: "") == "a CPU without a name" && !processorName().isEmpty)
    }
}
