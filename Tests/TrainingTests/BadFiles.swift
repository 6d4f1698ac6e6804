import DenseNetModel
import FoundationEssentials
import Glibc
import Safetensors
import TestSupport
import Testing

/// Invalid weights and run folders.
extension BadInput {
    // MARK: - Weights

    /// The small network's weights with changed tensors, then a changed header.
    private static func weights(
        _ scratch: ScratchFolder, tensors change: (inout [NamedTensor]) -> Void = { _ in },
        header edit: (String, SafetensorsFile) throws -> String = { text, _ in text }
    ) throws -> String {
        let network = try freshSmallNetwork()
        var tensors = WeightsFile.tensors(of: network)
        change(&tensors)
        try SafetensorsWriter.write(to: scratch("given.safetensors"), tensors: tensors)

        let bytes = try scratch.read("given.safetensors")
        let end = 8 + Int(bytes[0]) + 256 * Int(bytes[1]) + 65_536 * Int(bytes[2])
        let text = String(decoding: bytes[8..<end], as: UTF8.self)
        let edited = Array(try edit(text, SafetensorsFile(path: scratch("given.safetensors"))).utf8)
        let length = (0..<8).map { UInt8(edited.count >> (8 * $0) & 0xff) }
        return try scratch.write(length + edited + bytes[end...], to: "given.safetensors")
    }

    /// Changes the numbers in the header's entry for the classifier's bias.
    private static func biasEntry(
        _ text: String, _ file: SafetensorsFile, count: Int = 10, start shift: Int = 0
    ) throws -> String {
        // The reader counts from the beginning of the file, the header from its own end.
        let first = try #require(file.tensors.values.map(\.range.lowerBound).min())
        let range = try #require(file.tensors["classifier.bias"]).range
        let (start, end) = (range.lowerBound - first, range.upperBound - first)
        let old = "\"shape\":[10],\"data_offsets\":[\(start),\(end)]"
        try #require(text.contains(old))
        return text.replacing(
            old, with: "\"shape\":[\(count)],\"data_offsets\":[\(start + shift),\(start + shift + 4 * count)]")
    }

    static let weights: [BadInput] = [
        BadInput("weights that are not there", .noInput, "/nowhere: No such file") {
            small($0) + ["--init", $0("nowhere")]
        },
        BadInput("weights that lack a tensor", .data, "given.safetensors", "no tensor 'classifier.weight'") { scratch in
            small(scratch) + [
                "--init", try weights(scratch, tensors: { $0.removeAll { $0.name == "classifier.weight" } }),
            ]
        },
        BadInput("weights with a tensor more", .data, "given.safetensors", "'classifier.extra'") { scratch in
            small(scratch) + [
                "--init",
                try weights(
                    scratch,
                    tensors: { tensors in
                        tensors.append(NamedTensor(name: "classifier.extra", shape: [3], values: [1, 2, 3]))
                    }),
            ]
        },
        BadInput("weights with a tensor of another shape", .data, "given.safetensors", "bias' has shape [2, 5]") {
            scratch in
            small(scratch) + [
                "--init",
                try weights(
                    scratch,
                    tensors: { tensors in
                        let index = tensors.firstIndex { $0.name == "classifier.bias" }!
                        tensors[index] = NamedTensor(
                            name: "classifier.bias", shape: [2, 5], values: [Float](repeating: 0, count: 10))
                    }),
            ]
        },
        BadInput("weights whose tensors overlap", .data, "given.safetensors", "'classifier.bias'", "overlaps") {
            scratch in
            small(scratch) + ["--init", try weights(scratch, header: { try biasEntry($0, $1, start: -4) })]
        },
        BadInput("weights with more data in the header than in the file", .data, "'classifier.bias'", "it is truncated")
        {
            scratch in
            small(scratch) + ["--init", try weights(scratch, header: { try biasEntry($0, $1, count: 1 << 40) })]
        },
        BadInput("weights whose header is said to be longer than the file", .data, "claims a header of 16777215 bytes")
        { scratch in
            let path = try weights(scratch)
            var bytes = try scratch.read("given.safetensors")
            bytes.replaceSubrange(0..<4, with: [0xff, 0xff, 0xff, 0])
            _ = try scratch.write(bytes, to: "given.safetensors")
            return small(scratch) + ["--init", path]
        },
        BadInput("weights that are cut", .data, "given.safetensors", "it is truncated") { scratch in
            let path = try weights(scratch)
            _ = try scratch.write(scratch.read("given.safetensors").dropLast(1), to: "given.safetensors")
            return small(scratch) + ["--init", path]
        },
        BadInput("weights that PyTorch saved long ago", .data, "given.pth", "python3 -c") { scratch in
            small(scratch) + [
                "--init", try scratch.write([0x80, 2, 0x8A, 10] + [UInt8](repeating: 0, count: 60), to: "given.pth"),
            ]
        },
        BadInput("weights to evaluate with another number of classes", .data, "'classifier.weight' has shape [10, ") {
            scratch in
            ["evaluate", "--weights", try weights(scratch)] + smallNetwork + ["--classes", "12"]
        },
        BadInput("weights to evaluate that name no network", .usage, "given.safetensors", "--model") {
            ["evaluate", "--weights", try weights($0)]
        },
        BadInput("a golden file that is none", .data, "given.safetensors", "not a golden file") {
            ["verify", try weights($0)]
        },
    ]

    // MARK: - Run folders

    /// A finished run of one rank.
    private static func finished(_ scratch: ScratchFolder, _ name: String = "run", _ options: [String] = []) throws
        -> [String]
    {
        try train(smallRun + ["--epochs", "1"] + options, out: scratch(name))
        return ["train", "--resume", scratch("run")]
    }

    static let folders: [BadInput] = [
        BadInput("a run folder where none can be", .unavailable, "/proc/run") { _ in
            ["train", "--out", "/proc/run"] + smallRun
        },
        BadInput("a run folder below a file", .unavailable, "/file/run: Not a directory") {
            ["train", "--out", try $0.write([], to: "file") + "/run"] + smallRun
        },
        BadInput("a run folder that has a run", .usage, "already holds a run", "--resume") {
            _ = try finished($0)
            return small($0)
        },
        BadInput("resuming in a folder without a run", .noInput, "/empty holds no run to resume") {
            try FileManager.default.createDirectory(atPath: $0("empty"), withIntermediateDirectories: true)
            return ["train", "--resume", $0("empty")]
        },
        BadInput("resuming what is not there", .noInput, "/nowhere holds no run to resume") {
            ["train", "--resume", $0("nowhere")]
        },
        BadInput("a configuration that is cut", .data, "config.json", "no valid JSON") { scratch in
            let arguments = try finished(scratch)
            _ = try scratch.write(scratch.read("run/config.json").dropLast(20), to: "run/config.json")
            return arguments
        },
        BadInput("a configuration with a word for a number", .data, "config.json", "key batchSize is not of type Int") {
            scratch in
            let arguments = try finished(scratch)
            let text = String(decoding: try scratch.read("run/config.json"), as: UTF8.self)
            let edited = text.replacing("\"batchSize\" : 16", with: "\"batchSize\" : \"16\"")
            _ = try scratch.write(Array(edited.utf8), to: "run/config.json")
            return arguments
        },
        BadInput("a checkpoint of another network", .data, "checkpoint-00001-00000004.safetensors", "another network") {
            scratch in
            let arguments = try finished(scratch)
            _ = try finished(scratch, "other", ["--dropout", "0.1"])
            _ = try scratch.write(scratch.read("other/config.json"), to: "run/config.json")
            return arguments
        },
        BadInput("checkpoints that are all damaged", .data, "/checkpoints: none of 1 checkpoints can be used") {
            scratch in
            let arguments = try finished(scratch)
            _ = try scratch.write([1, 2, 3], to: "run/checkpoints/checkpoint-00001-00000004.safetensors")
            return arguments
        },
        BadInput("a learning rate that leads nowhere", .data, "is not finite on all ranks", "--learning-rate") {
            small($0) + ["--learning-rate", "1e30"]
        },
    ]
}
