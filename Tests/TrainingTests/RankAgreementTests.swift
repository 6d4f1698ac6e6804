import FoundationEssentials
import Glibc
import ImageData
import Kernels
import Support
import TestSupport
import Testing

/// Ranks that were started differently end cleanly before the first step, and one line says how they differ.
@Suite struct RankAgreementTests {
    let scratch = ScratchFolder()
    private var program: String { get throws { try builtExecutable(named: "densenet") } }

    /// Starts rank 0 with some arguments, ranks 1 and 2 with others, and checks how they end. `level` is that of ranks
    /// 1 and 2; rank 0 has the best.
    private func check(
        _ kind: Failure.Kind, _ words: [String], first: [String], others: [String], program other: String? = nil,
        level: VectorLevel? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let began = monotonicSeconds()
        let job = try mpirun(
            ranks: 1, program: "densenet",
            arguments: first + [":"] + (level.map { ["-x", "DENSENET_SIMD=\($0)"] } ?? [])
                + ["-n", "2", try other ?? program] + others,
            environment: level == nil ? [:] : ["DENSENET_SIMD": nil], quiet: true, timeout: 20)
        #expect(job.status == kind.rawValue, "\(job.errors)", sourceLocation: sourceLocation)
        #expect(
            job.errors.lines.count == 1 && job.errors.hasPrefix("densenet: "), "\(job.errors)",
            sourceLocation: sourceLocation)
        for word in words { #expect(job.errors.contains(word), "\(job.errors)", sourceLocation: sourceLocation) }
        #expect(!FileManager.default.fileExists(atPath: scratch("run")), sourceLocation: sourceLocation)
        // The measurement, for the log.
        print("\(Int(1000 * (monotonicSeconds() - began))) ms: \(job.errors.lines.first ?? "")")
    }

    private func small(_ options: String...) -> [String] { ["train", "--out", scratch("run")] + smallRun + options }

    @Test func `different options on one rank are named`() throws {
        try check(
            .usage,
            [
                "ranks disagree on --learning-rate: 0.1 on rank 0, 0.2 on ranks 1, 2; start all ranks with the same options"
            ],
            first: small("--learning-rate", "0.1"), others: small("--learning-rate=0.2"))
        // A default is compared by the value that it stands for.
        try check(.usage, ["--epochs: 5 on rank 0, 2 on ranks 1, 2"], first: small(), others: small("--epochs", "2"))
        try check(
            .usage, ["--schedule: step at 0.5,0.75 on rank 0, cosine on ranks 1, 2"], first: small(),
            others: small("--schedule", "cosine"))
        // Parts of the batch, and so the number of collective calls, would differ.
        try check(
            .usage, ["--batch-size: 3 on rank 0, 100 on ranks 1, 2"], first: ["bench", "--batch-size", "3"],
            others: ["bench", "--batch-size", "100"])
        try check(
            .usage, ["--data: synthetic on rank 0, a folder on ranks 1, 2"], first: small(),
            others: small("--data", "/nowhere"))
    }

    @Test func `different options of a resumed run are named`() throws {
        try train(smallRun + ["--epochs", "1"], out: scratch("earlier"))
        let resumed = ["train", "--resume", scratch("earlier")]
        try check(
            .usage, ["ranks disagree on --epochs: 1 on rank 0, 3 on ranks 1, 2; "], first: resumed,
            others: resumed + ["--epochs", "3"])
        try check(
            .usage, ["ranks disagree on --on-nonfinite: stop on rank 0, skip on ranks 1, 2; "], first: resumed,
            others: resumed + ["--on-nonfinite", "skip"])
    }

    @Test func `a different command, and a run resumed by one rank only, are named`() throws {
        try check(
            .usage, ["ranks disagree on the command: train on rank 0, bench on ranks 1, 2"], first: small(),
            others: ["bench"])
        try check(
            .usage, ["ranks disagree on --resume: none on rank 0, \(scratch("run")) on ranks 1, 2; "], first: small(),
            others: ["train", "--resume", scratch("run")])
    }

    @Test func `an option that only one rank cannot parse is reported by that rank`() throws {
        let job = try mpirun(
            ranks: 1, program: "densenet",
            arguments: small() + [":", "-n", "1", try program] + small("--epoch", "2"), quiet: true, timeout: 20)
        #expect(job.status == Failure.Kind.usage.rawValue)
        #expect(
            job.errors.lines.count == 1 && job.errors.contains("rank 1: ") && job.errors.contains("--epoch"),
            "\(job.errors)")
    }

    @Test func `the order of options, explicit defaults, threads and folders of equal images may differ`() throws {
        for folder in ["a", "b"] { try SyntheticImages.write(to: scratch(folder), train: 20, test: 8, seed: 1) }
        let options = smallNetwork.dropLast(2) + ["--batch-size", "8", "--epochs", "1", "--out", scratch("run")]
        let others =
            ["train", "--out", scratch("run"), "--data", scratch("b"), "--threads", "2", "--seed=1"]
            + options.dropLast(2)
        let job = try mpirun(
            ranks: 1, program: "densenet",
            arguments: ["train", "--data", scratch("a")] + options + [":", "-n", "1", try program] + others)
        #expect(job.status == 0, "\(job.errors)")
    }

    @Test func `a differing byte in one rank's copy of the images is found`() throws {
        for folder in ["a", "b"] { try SyntheticImages.write(to: scratch(folder), train: 20, test: 8, seed: 1) }
        func arguments(_ folder: String) -> [String] {
            ["train", "--out", scratch("run"), "--data", scratch(folder)] + smallNetwork.dropLast(2) + [
                "--batch-size", "8",
            ]
        }
        for (name, byte) in [("data_batch_4.bin", 12_000), ("test_batch.bin", 7 * 3073 + 3072)] {
            var bytes = try scratch.read("b/" + name)
            bytes[byte] ^= 1
            _ = try scratch.write(bytes, to: "b/" + name)
            try check(
                .data,
                [
                    "ranks disagree on \(name): \(scratch("a/" + name)) (", "\(scratch("b/" + name)) (",
                    " on ranks 1, 2; ",
                ],
                first: arguments("a"), others: arguments("b"))
            bytes[byte] ^= 1
            _ = try scratch.write(bytes, to: "b/" + name)
        }
    }

    @Test func `a different build on one rank is found`() throws {
        let copy = scratch("densenet")
        // Not by this process: what it forks meanwhile for another test would hold the copy open, "Text file busy".
        let made = try run("/bin/sh", ["-c", #"cp -- "$0" "$1" && printf '\0' >> "$1""#, program, copy])
        #expect(made.status == 0, "\(made.errors)")
        try check(
            .internal,
            [
                "ranks disagree on the program: ", "\(copy) (CRC-32 ",
                " on ranks 1, 2; install the same build on all nodes",
            ], first: small(), others: small(), program: copy)
    }

    @Test(arguments: VectorLevel.allCases) func `of two vector levels the lower one is advised`(_ level: VectorLevel)
        throws
    {
        guard level < .best else { try Test.cancel("\(saying("this CPU has no level above \(level)"))") }
        try check(
            .unavailable,
            [
                "ranks disagree on the vector level of their CPUs: \(VectorLevel.best) on rank 0, \(level) on ranks 1, 2; ",
                "or set DENSENET_SIMD=\(level) on all ranks (mpirun -x DENSENET_SIMD=\(level))",
            ],
            first: small(), others: small(), level: level)
    }

    @Test func `different weights to evaluate on one rank are found`() throws {
        for seed in ["1", "2"] { try train(smallRun + ["--steps", "1", "--seed", seed], out: scratch(seed)) }
        func arguments(_ name: String) -> [String] {
            ["evaluate", "--weights", scratch(name + "/weights.safetensors")]
        }
        try check(
            .data, ["ranks disagree on the weights: \(scratch("1/weights.safetensors")) (CRC-32 "],
            first: arguments("1"), others: arguments("2"))
    }
}
