import FoundationEssentials
import TestSupport
import Testing

/// `plan`, and `bench --scaling`, as programs.
@Suite struct PlanTests {
    let scratch = ScratchFolder()

    /// What these tests read of `plan --json`.
    private struct Plan: Decodable {
        struct Row: Decodable {
            let ranks, hosts: Int
            let stepSeconds, imagesPerSecond, efficiency: Double?
        }
        let rows: [Row]
        let sums: Int
        let gradientBuckets: Int
    }

    private func plan(_ options: [String], ranks: Int = 1) throws -> Plan {
        let job = try densenet(["plan", "--json"] + options, ranks: ranks)
        try #require(job.status == 0, "\(job)")
        return try JSONDecoder().decode(Plan.self, from: Data(job.output.utf8))
    }

    @Test func `a plan measured on two ranks has a row for each number of ranks, and a drawing`() throws {
        let options = ["--steps", "4", "--batch-size", "8", "--ranks", "1,2,4,64", "--per-node", "2"]
        let plan = try plan(options + smallNetwork + ["--svg", scratch("plan.svg")], ranks: 2)
        #expect(plan.rows.map(\.ranks) == [1, 2, 4, 64] && plan.rows.map(\.hosts) == [1, 1, 2, 32])
        // Stem, two layers of two convolutions, a transition; both directions.
        #expect(plan.sums == 2 * (1 + 2 * 2 + 1) && plan.gradientBuckets == 1)
        for row in plan.rows.dropLast() {
            let (seconds, rate) = (try #require(row.stepSeconds), try #require(row.imagesPerSecond))
            #expect(seconds > 0 && abs(rate * seconds / 8 - 1) < 1e-9)
        }
        #expect(plan.rows[0].efficiency == 1 && plan.rows[3].stepSeconds == nil, "64 ranks have 8 images")
        let drawing = String(decoding: try Data(scratch.read("plan.svg")), as: UTF8.self)
        #expect(drawing.hasPrefix("<svg ") && drawing.contains("images/s") && drawing.hasSuffix("</svg>\n"))
    }

    @Test func `a plan from what bench has printed predicts the step that it was timed with`() throws {
        var files: [String] = []
        for batch in ["16", "4"] {
            let bench = try densenet(["bench", "--json", "--steps", "4", "--batch-size", batch] + smallNetwork)
            try #require(bench.status == 0, "\(bench)")
            files += ["--from", try scratch.write(Array(bench.output.utf8), to: "\(batch).json")]
        }
        let text = try densenet(["plan", "--batch-size", "16", "--ranks", "1,4", "--latency", "1ms"] + files)
        #expect(text.status == 0 && text.output.contains("between hosts: 1000.0 us"), "\(text)")
        let plan = try plan(["--batch-size", "16", "--ranks", "1,4"] + files)
        #expect(try #require(plan.rows[0].stepSeconds) > 0 && plan.rows[1].efficiency != nil)
        let other = try densenet(["plan", "--model", "densenet121"] + files)
        #expect(other.status == 64 && other.errors.contains("16.json is of another network"), "\(other)")
        let weights = try scratch.write(Array("{}".utf8), to: "other.json")
        let wrong = try densenet(["plan", "--from", weights])
        #expect(wrong.status == 65 && wrong.errors.contains("is not what bench --json prints"), "\(wrong)")
        #expect(try densenet(["plan", "--from", scratch("nowhere")]).status == 66)
    }

    @Test func `one command times the same batch, and the same batch a rank, on one rank and on two`() throws {
        struct Scaling: Decodable {
            struct Row: Decodable {
                let ranks, batchSize: Int
                let stepSeconds: [Double]
                let efficiency: Double
            }
            let strong, weak: [Row]
        }
        let options = ["bench", "--scaling", "1,2", "--steps", "4", "--batch-size", "8"] + smallNetwork
        let job = try densenet(options + ["--json"], ranks: 2)
        try #require(job.status == 0, "\(job)")
        let scaling = try JSONDecoder().decode(Scaling.self, from: Data(job.output.utf8))
        #expect(scaling.strong.map(\.ranks) == [1, 2] && scaling.strong.map(\.batchSize) == [8, 8])
        #expect(scaling.weak.map(\.ranks) == [1, 2] && scaling.weak.map(\.batchSize) == [4, 8])
        #expect((scaling.strong + scaling.weak).allSatisfy { $0.stepSeconds.count == 4 && $0.efficiency > 0 })
        let few = try densenet(options)
        #expect(few.status == 64 && few.errors.contains("--scaling wants 2 ranks, and there are 1"), "\(few)")
    }

    @Test(arguments: [
        (["plan", "--ranks", "1,x"], "'1,x' is invalid for '--ranks"), (["plan", "--ranks", "4,2"], "--ranks is 4,2"),
        (["plan", "--ranks", "0,1"], "--ranks is 0,1"), (["plan", "--per-node", "0"], "--per-node is 0"),
        (["plan", "--latency", "2"], "a time such as 2us, in ns, us, ms, s"),
        (["plan", "--latency", "us"], "'us' is invalid for '--latency"),
        (["plan", "--latency=-1us"], "a time such as 2us"), (["plan", "--bandwidth", "12"], "a rate such as 12GB/s"),
        (["plan", "--bandwidth", "0GB/s"], "a rate above zero"), (["plan", "--steps", "3"], "--steps is 3"),
        (["plan", "--batch-size", "0"], "--batch-size is 0"), (["bench", "--scaling", "2,1"], "--scaling is 2,1"),
        (["bench", "--scaling", "1", "--kernels"], "--scaling does not go with --kernels"),
    ])
    func `an invalid option ends with one line`(_ arguments: [String], _ words: String) throws {
        let job = try densenet(arguments)
        #expect(job.status == 64 && job.errors.lines.count == 1 && job.errors.contains(words), "\(job)")
    }
}
