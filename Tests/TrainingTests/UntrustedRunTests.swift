import FoundationEssentials
import Glibc
import ImageData
import Pictures
import Support
import TestSupport
import Testing

/// A run folder, or a file of weights, from an untrusted source.
@Suite struct UntrustedRunTests {
    private let scratch = ScratchFolder()

    private func refusal(
        _ arguments: [String], _ kind: Failure.Kind, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> String {
        let job = try densenet(arguments)
        #expect(job.status == kind.rawValue, "\(job.output)\(job.errors)", sourceLocation: sourceLocation)
        #expect(job.errors.lines.count == 1, "\(job.errors)", sourceLocation: sourceLocation)
        return job.errors
    }

    /// Replaces text in the run's config.json.
    private func edit(_ old: String, _ new: String) throws {
        let text = String(decoding: try scratch.read("run/config.json"), as: UTF8.self)
        try #require(text.contains(old), "\(text)")
        _ = try scratch.write(Array(text.replacing(old, with: new).utf8), to: "run/config.json")
    }

    @Test func `resuming opens none of the weights that a run folder names`() throws {
        let network = try train(smallRun + ["--epochs", "1"], out: scratch("first"))
        let given = network.path + "/weights.safetensors"
        try train(smallRun + ["--epochs", "1", "--init", given], out: scratch("run"))
        try edit("\"epochs\" : 1", "\"epochs\" : 2")
        // The named file need not exist; opening it would block.
        unlink(given)
        mkfifo(given, 0o600)
        try resume(scratch("run"))

        let checkpoints = scratch("run/checkpoints")
        for name in ["metrics.jsonl", "best.safetensors", "weights.safetensors"] { unlink(scratch("run/\(name)")) }
        for name in try FileManager.default.contentsOfDirectory(atPath: checkpoints) {
            unlink("\(checkpoints)/\(name)")
        }
        let words = try refusal(["train", "--resume", scratch("run")], .noInput)
        #expect(
            words.contains("has no checkpoint to resume from, and the run began with the weights \(given)"), "\(words)")
    }

    @Test func `the images that a run folder names are refused unless they are a folder with regular files`() throws {
        try SyntheticImages.write(to: scratch("images"), train: 20, test: 8, seed: 1)
        let options = smallNetwork.dropLast(2) + ["--data", scratch("images"), "--batch-size", "4", "--epochs", "1"]
        try train(Array(options), out: scratch("run"))
        try edit("\"path\" : \"\(scratch("images"))\"", "\"path\" : \"/etc/passwd\"")
        #expect(try refusal(["train", "--resume", scratch("run")], .noInput).contains("/etc/passwd: not a folder"))
        mkdir(scratch("empty"), 0o777)
        try edit("/etc/passwd", scratch("empty"))
        #expect(
            try refusal(["train", "--resume", scratch("run")], .noInput).contains("/empty: has neither CIFAR-10"))
        // Other images, of another kind.
        for (name, part) in [("a", "train"), ("b", "train"), ("a", "test")] {
            try FileSystem.makeFolderAndParents(scratch("empty/\(part)/\(name)"))
            let picture = Picture(height: 32, width: 32, planes: [UInt8](repeating: 1, count: 3 * 32 * 32))
            _ = try scratch.write(try picture.png, to: "empty/\(part)/\(name)/1.png")
        }
        #expect(
            try refusal(["train", "--resume", scratch("run")], .data).contains("/empty/train: holds other images"))
        try edit(scratch("empty"), scratch("images"))
        unlink(scratch("images/data_batch_1.bin"))
        mkfifo(scratch("images/data_batch_1.bin"), 0o600)
        #expect(
            try refusal(["train", "--resume", scratch("run")], .noInput).contains("data_batch_1.bin: it is not a file"))
    }

    @Test(arguments: ["metrics.jsonl", ".lock"])
    func `nothing is written through a link in a run folder`(_ name: String) throws {
        try train(smallRun + ["--epochs", "1"], out: scratch("run"))
        let precious = try scratch.write(Array("precious\n".utf8), to: "precious")
        unlink(scratch("run/\(name)"))
        symlink(precious, scratch("run/\(name)"))
        try edit("\"epochs\" : 1", "\"epochs\" : 2")
        let kind = name == ".lock" ? Failure.Kind.unavailable : .data
        #expect(try refusal(["train", "--resume", scratch("run")], kind).contains("run/\(name): "))
        #expect(try scratch.read("precious") == Array("precious\n".utf8))
    }

    @Test func `temporary files have unpredictable names, so that no link can be planted`() throws {
        var names: Set<String> = []
        for _ in 0..<8 {
            try AtomicFile.write(scratch("f")) { _ in names.formUnion(scratch.names) }
        }
        let temporary = names.subtracting(["f"])
        #expect(
            temporary.count == 8 && temporary.allSatisfy { $0.hasPrefix("f.tmp-") && !$0.contains("\(getpid())") },
            "\(names)")
        #expect(scratch.names == ["f"])
    }

    @Test func `resuming a run executes nothing from its folder and writes nothing outside of it`() throws {
        try train(smallRun + ["--epochs", "1"], out: scratch("run"))
        try edit("\"epochs\" : 1", "\"epochs\" : 2")
        for name in ["densenet", "launch.sh", "mpirun", ".profile", "weights.py"] {
            _ = try scratch.write(Array("#!/bin/sh\ntouch '\(scratch("ran"))'\n".utf8), to: "run/\(name)")
            chmod(scratch("run/\(name)"), 0o755)
        }
        try resume(scratch("run"))
        #expect(scratch.names == ["run"])
    }

    @Test func `text from a file cannot control the terminal`() throws {
        try train(smallRun + ["--epochs", "1"], out: scratch("run"))
        try edit("\"model\" : \"custom\"", "\"model\" : \"\\u001b[2Jhidden\"")
        let job = try densenet(["train", "--resume", scratch("run")])
        #expect(job.status == 0, "\(job.errors)")
        #expect(job.output.contains("\u{FFFD}[2Jhidden: ") && !job.output.contains("\u{1B}"), "\(job.output)")
        try edit("\"augment\" : \"crop,flip\"", "\"augment\" : \"\\u001b]0;\\n\"")
        let words = try refusal(["train", "--resume", scratch("run")], .data)
        #expect(words.contains("augmentation '\u{FFFD}]0;\u{FFFD}'"), "\(words)")
    }
}
