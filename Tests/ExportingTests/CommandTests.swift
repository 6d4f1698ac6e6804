import DenseNetModel
import Safetensors
import Support
import TestSupport
import Testing

/// `densenet export` as a user runs it.
@Suite struct CommandTests {
    private let scratch = ScratchFolder()
    private let configuration = DenseNetConfiguration(
        stem: .cifar, blocks: [1], growthRate: 2, stemChannels: 3, bottleneck: false, compression: 1, classes: 4,
        image: 4)

    private func export(_ format: String, _ out: String, _ options: [String]) throws -> ProgramResult {
        try run(builtExecutable(named: "densenet"), ["export", "--to", format, scratch(out)] + options)
    }

    private func writeWeights(_ name: String, normalization: String? = nil) throws -> [String] {
        let network = try DenseNet(configuration, capacity: 1)
        network.initialize(seed: 1)
        try WeightsFile.write(
            network, to: scratch(name), metadata: normalization.map { ["normalization": $0] } ?? [:])
        return ["--weights", scratch(name)]
    }

    @Test(arguments: ["onnx", "pytorch", "npz"])
    func `weights of a file and of a run folder are exported alike`(_ format: String) throws {
        try FileSystem.makeFolder(scratch("run"))
        let options = try writeWeights(
            "run/weights.safetensors", normalization: #"{"mean":[0.5,0.5,0.5],"std":[0.2,0.2,0.2]}"#)
        let job = try export(format, "a", options)
        #expect(job.status == 0 && job.errors == "", "\(job)")
        #expect(job.output == "\(scratch("a")): \(ParameterTable(configuration).parameterCount) parameters\n")
        #expect(try export(format, "b", ["--weights", scratch("run")]).status == 0)
        #expect(try scratch.read("a") == scratch.read("b"))
    }

    @Test func `a model whose normalization is not known is exported with a note`() throws {
        let job = try export("onnx", "a", try writeWeights("w.safetensors"))
        #expect(job.status == 0 && job.errors.contains("does not say how its images were normalized"), "\(job)")
    }

    @Test func `what cannot be exported is refused in a line, and nothing is written`() throws {
        let weights = try writeWeights("w.safetensors")
        let cases: [(format: String, options: [String], kind: Failure.Kind, words: String)] = [
            ("timm", weights, .usage, "timm has densenet121"),
            ("onnx", ["--weights", scratch("missing")], .noInput, "cannot read"),
            ("onnx", ["--weights", try scratch.write([1, 2, 3], to: "bad")], .data, "has 3 bytes"),
            ("onnx", weights + ["--model", "densenet121"], .data, "belongs to a different network"),
            ("npz", try writeWeights("n.safetensors", normalization: "{}"), .data, "is not a normalization"),
            ("npy", weights, .usage, "npy"),
        ]
        for (format, options, kind, words) in cases {
            let job = try export(format, "out", options)
            #expect(job.status == kind.rawValue && job.errors.contains(words), "\(job)")
            #expect(job.errors.split(separator: "\n").count == 1, "\(job)")
        }
        #expect(scratch.names == ["bad", "n.safetensors", "w.safetensors"])
    }
}
