import FoundationEssentials
import TestSupport
import Testing

/// What tells before a run what it is and will take, and what tells of this host.
@Suite struct DryRunTests {
    let scratch = ScratchFolder()

    @Test(arguments: [1, 2])
    func `a dry run prints options and costs, which config reads, and writes nothing`(ranks: Int) throws {
        let options = ["train", "--out", scratch("run")] + smallRun
        let job = try densenet(options + ["--dry-run"], ranks: ranks)
        #expect(job.status == 0, "\(job)")
        for start in ["# steps: 4 an epoch, 20 in all", "# speed: ", "# time: ", "# memory: ", "# disk: 0.1 MiB"] {
            #expect(job.output.lines.contains { $0.hasPrefix(start) }, "\(job.output)")
        }
        #expect(job.output.contains("for the \(ranks) on this host"))
        #expect(scratch.names.isEmpty)
        let printed = try densenet(options + ["--print-config"])
        #expect(job.output.hasPrefix(printed.output))
        let again = try densenet(
            ["train", "--print-config", "--config", scratch.write(Array(job.output.utf8), to: "options.yaml")])
        #expect(again.output == printed.output, "\(again)")
    }

    @Test func `what a run would refuse, a dry run refuses`() throws {
        let job = try densenet(["train", "--dry-run", "--data", scratch("none")])
        #expect(job.status == 66 && job.errors.contains(scratch("none")), "\(job)")
    }

    @Test func `launch.sh makes no folder for a dry run`() throws {
        let words = ["-n", "2", "train", "--dry-run", "--out", scratch("run")] + smallRun
        let job = try withLaunchedJob(words) { try $0.wait(timeout: 60) }
        #expect(job.status == 0 && job.output.contains("# steps: 4 an epoch"), "\(job)")
        #expect(scratch.names.isEmpty)
    }

    @Test func `the environment has a line for all that a bug report needs`() throws {
        let job = try densenet(["env"], environment: ["OMPI_MCA_btl": "self,vader", "DENSENET_SIMD": ""])
        #expect(job.status == 0, "\(job)")
        for name in [
            "version", "system", "CPU", "vector level", "cores", "memory", "/dev/shm", "MPI", "OpenBLAS", "limits",
            "OMPI_MCA_btl",
        ] { #expect(job.output.lines.contains { $0.hasPrefix(name + " ") }, "\(name): \(job.output)") }
        #expect(job.output.contains("Open MPI v") && job.output.contains("self,vader"), "\(job.output)")
        #expect(!job.output.contains(" 0 MiB free of 0"), "\(job.output)")
    }

    @Test func `describe, evaluate and bench print their results as JSON`() throws {
        func object(_ arguments: [String], ranks: Int = 1) throws -> [String: JSONValue] {
            let job = try densenet(arguments + ["--json"], ranks: ranks)
            try #require(job.status == 0, "\(job)")
            return try JSONDecoder().decode([String: JSONValue].self, from: Data(job.output.utf8))
        }
        let description = try object(["describe", "densenet-bc-100-12"])
        #expect(description["name"] == .text("DenseNet-BC-100") && description["parameters"] == .number(769_162))
        let run = try train(smallRun + ["--steps", "4"], out: scratch("run"))
        let weights = ["--weights", scratch("run/weights.safetensors"), "--limit-test", "32"]
        let result = try object(["evaluate"] + weights, ranks: 2)
        #expect(result["images"] == .number(32) && result["accuracy"] == .number(run.epochs[0].testAccuracy))
        let bench = try object(["bench", "--steps", "2", "--batch-size", "4"] + smallNetwork, ranks: 2)
        #expect(bench["ranks"] == .number(2) && bench["imagesPerSecond"] != nil)
    }
}

/// A value of JSON, as far as these tests look at it.
private enum JSONValue: Decodable, Equatable {
    case number(Double)
    case text(String)
    case other

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else {
            self = (try? value.decode(String.self)).map(Self.text) ?? .other
        }
    }
}
