import FoundationEssentials
import Glibc
import ImageData
import Support
import TestSupport
import Testing

/// A user's mistake, and what the program must say about it.
struct BadInput: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let kind: Failure.Kind
    /// Each must be in the message.
    let words: [String]
    /// Creates the files in a scratch folder and returns the command line.
    let arguments: @Sendable (ScratchFolder) throws -> [String]

    init(
        _ name: String, _ kind: Failure.Kind, _ words: String...,
        arguments: @escaping @Sendable (ScratchFolder) throws -> [String]
    ) {
        testDescription = name
        self.kind = kind
        self.words = words
        self.arguments = arguments
    }

    /// A new small run in the scratch folder.
    @Sendable static func small(_ scratch: ScratchFolder) -> [String] { ["train", "--out", scratch("run")] + smallRun }

    // MARK: - The command line

    static let usage: [BadInput] = [
        BadInput("a batch smaller than the number of ranks", .usage, "--batch-size 1 ", "the number of ranks, 2") {
            ["train", "--out", $0("run"), "--batch-size", "1"]
        },
        BadInput("an unknown model", .usage, "densenet-xl", "densenet-bc-DEPTH-GROWTH") {
            ["train", "--out", $0("run"), "--model", "densenet-xl"]
        },
        BadInput("an impossible depth", .usage, "depth 41") {
            ["train", "--out", $0("run"), "--model", "densenet-bc-41-12"]
        },
        BadInput("an unknown option", .usage, "--modle") { ["train", "--out", $0("run"), "--modle", "densenet121"] },
        BadInput("an option without its value", .usage, "--epochs") { ["train", "--out", $0("run"), "--epochs"] },
        BadInput("a value that is no number", .usage, "--epochs", "many") {
            ["train", "--out", $0("run"), "--epochs", "many"]
        },
        BadInput("an unknown command", .usage, "'practise' is no command", "train, evaluate,") { _ in
            ["practise", "--model", "x"]
        },
        BadInput("a negative number behind a blank", .usage, "--learning-rate", "write --learning-rate=-0.1") { _ in
            ["train", "--learning-rate", "-0.1"]
        },
        BadInput("a seed that is none", .usage, "--seed", "0 to 18446744073709551615") { _ in ["train", "--seed=-5"] },
        BadInput("a part that is none", .usage, "--freeze", "stem,block1,transition1") {
            small($0) + ["--freeze", "stem,blocks"]
        },
        BadInput("a part that the network does not have", .usage, "--freeze names block3", "parts are stem, block1, ") {
            small($0) + ["--freeze", "block3"]
        },
        BadInput("all parts frozen", .usage, "--freeze names all parts", "leave the classifier out") {
            small($0) + ["--freeze", "classifier,features"]
        },
        BadInput("frozen norms of no part", .usage, "--freeze-norm is about", "name these by --freeze") {
            small($0) + ["--freeze-norm"]
        },
        BadInput("frozen norms behind what learns", .usage, "block1 learns and transition1 is frozen") {
            small($0) + ["--freeze", "stem,transition1", "--freeze-norm"]
        },
        BadInput("rates that are none", .usage, "--learning-rate-of", "block4=0.001,classifier=0.01") {
            small($0) + ["--learning-rate-of", "classifier:0.1"]
        },
        BadInput("a rate of 0", .usage, "--learning-rate-of norm is 0.0, expected a number above 0") {
            small($0) + ["--learning-rate-of", "norm=0"]
        },
        BadInput("a rate for a part that is not there", .usage, "--learning-rate-of names transition2") {
            small($0) + ["--learning-rate-of", "transition2=0.1"]
        },
        BadInput("two rates for a part", .usage, "--learning-rate-of has two rates for norm, that of features too") {
            small($0) + ["--learning-rate-of", "norm=0.1,features=0.2"]
        },
        BadInput("a rate for a frozen part", .usage, "--learning-rate-of names block1", "--freeze features keeps") {
            small($0) + ["--freeze", "features", "--learning-rate-of", "block1=0.1"]
        },
        BadInput("strictness about no weights", .usage, "--init-strict is about", "--init names") {
            small($0) + ["--init-strict"]
        },
        BadInput("a warm-up as long as the run", .usage, "--warm-up is 2", "--epochs, which is 2") {
            small($0) + ["--epochs", "2", "--warm-up", "2"]
        },
        BadInput("images too small for the network", .usage, "image size 28", "29 pixels") {
            ["train", "--out", $0("run"), "--model", "densenet121", "--image", "28"]
        },
        BadInput(
            "resuming with another value of an option", .usage, "--momentum is 0.5, but the run in ", " has 0.9, which"
        ) {
            try train(smallRun + ["--epochs", "1"], out: $0("earlier"))
            return ["train", "--resume", $0("earlier"), "--momentum", "0.5"]
        },
        BadInput("more classes in the data than in the network", .usage, "10 classes", "--classes") {
            small($0) + ["--classes", "9"]
        },
        BadInput("an unknown augmentation", .usage, "spin") { small($0) + ["--augment", "crop,spin"] },
    ]

    // MARK: - Images

    /// A small set in CIFAR-10's layout with one file changed.
    @Sendable private static func data(
        _ scratch: ScratchFolder, _ file: String, _ change: (inout [UInt8]) -> Void
    ) throws -> [String] {
        try SyntheticImages.write(to: scratch("images"), train: 20, test: 8, seed: 1)
        var bytes = try scratch.read("images/" + file)
        change(&bytes)
        _ = try scratch.write(bytes, to: "images/" + file)
        return ["train", "--out", scratch("run"), "--data", scratch("images")] + smallNetwork.dropLast(2) + [
            "--batch-size", "8",
        ]
    }

    private static let record = 3073

    static let images: [BadInput] = [
        BadInput("a missing data folder", .noInput, "/nowhere: No such file") {
            small($0) + ["--data", $0("nowhere")]
        },
        BadInput("a data folder without data", .noInput, "neither CIFAR-10", "data_batch_1.bin") {
            try FileManager.default.createDirectory(atPath: $0("empty"), withIntermediateDirectories: true)
            return small($0) + ["--data", $0("empty")]
        },
        BadInput("a missing file of images", .noInput, "data_batch_4.bin: missing") { scratch in
            let arguments = try data(scratch, "data_batch_4.bin") { _ in }
            unlink(scratch("images/data_batch_4.bin"))
            return arguments
        },
        BadInput("a file of images that is a link to itself", .noInput, "data_batch_2.bin: Too many levels of symbolic")
        { scratch in
            let arguments = try data(scratch, "data_batch_2.bin") { _ in }
            unlink(scratch("images/data_batch_2.bin"))
            symlink("data_batch_2.bin", scratch("images/data_batch_2.bin"))
            return arguments
        },
        BadInput("a truncated file of images", .data, "data_batch_3.bin: \(4 * record - 1) bytes") {
            try data($0, "data_batch_3.bin") { $0.removeLast() }
        },
        BadInput("a file with bytes behind its images", .data, "test_batch.bin: \(8 * record + 9) bytes") {
            try data($0, "test_batch.bin") { $0 += [UInt8](repeating: 0, count: 9) }
        },
        BadInput("a file with more images than the official one", .data, "data_batch_2.bin: 10001 records") { scratch in
            let arguments = try data(scratch, "data_batch_2.bin") { _ in }
            truncate(scratch("images/data_batch_2.bin"), 10_001 * record)
            return arguments
        },
        BadInput("an empty file of images", .data, "data_batch_1.bin: empty") {
            try data($0, "data_batch_1.bin") { $0 = [] }
        },
        BadInput("a label out of range", .data, "data_batch_1.bin: record 2 (byte \(2 * record)) has label 10") {
            try data($0, "data_batch_1.bin") { $0[2 * record] = 10 }
        },
        BadInput(
            "a label out of range in the other rank's share", .data, "rank 1: ", "test_batch.bin: record 7", "label 255"
        ) {
            try data($0, "test_batch.bin") { $0[7 * record] = 255 }
        },
        BadInput("a data folder that only one rank misses", .noInput, "rank 2: ", "/nowhere: No such file") { scratch in
            let arguments = try data(scratch, "test_batch.bin") { _ in }
            // A further rank with a command line of its own acts as a host without the data.
            return try arguments + [":", "-n", "1", builtExecutable(named: "densenet")]
                + arguments.map { $0 == scratch("images") ? scratch("nowhere") : $0 }
        },
    ]
}
