import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

@testable import Training

/// Files from anywhere: whatever they contain, reading them succeeds or throws a clear failure.
@Suite struct FuzzTests {
    /// In memory if possible: a disk would take a third of the time.
    private let scratch = ScratchFolder(in: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")

    @Test(arguments: [
        ("weights", 80_000), ("pytorch", 30_000), ("archive", 8_000), ("images", 10_000), ("configuration", 65_000),
        ("checkpoints", 5_000), ("metrics", 45_000), ("record", 20_000),
        ("pictures", 20_000), ("table", 10_000),
    ])
    func `damaged files are read or refused, without a crash and without allocating for data that does not exist`(
        _ target: String, _ cases: Int
    ) throws {
        let result = try run(
            builtExecutable(named: "FuzzTestProgram"), [target, scratch.path, "1", "\(cases)"],
            // Memory that a sanitizer retains would count as growth.
            environment: ["ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=0"], timeout: 300)
        let number = (try? scratch.read("case")).map { String(decoding: $0, as: UTF8.self) } ?? "0"
        try #require(
            result.status == 0,
            "FuzzTestProgram \(target) FOLDER \(number.prefix { $0 != "\n" }) 1: \(result.errors.prefix(2000))")
        let words = result.output.split(separator: " ")
        let numbers = words.compactMap { Int($0) }
        try #require(numbers.count == 3, "\(result.output)")
        #expect(numbers[0] > cases / 1000 && numbers[0] + numbers[1] == cases, "\(result.output)")
        // KiB; the largest file claims 2^63 bytes.
        #expect(numbers[2] < 40_000, "\(result.output)")
    }

    /// A change of RUN/config.json and what the message must contain.
    static let configurations: [(old: String, new: String, words: String)] = [
        ("\"epochs\" : 3", "\"epochs\" : 1e400", "no valid JSON"),
        ("\"epochs\" : 3", "\"epochs\" : NaN", "no valid JSON"),
        ("\"epochs\" : 3", "\"epochs\" : 1.5", "no valid JSON"),
        ("\"epochs\" : 3", "\"epochs\" : -3", "`epochs` is -3, expected 1 to 1,000,000"),
        ("\"epochs\" : 3", "\"epochs\" : 9223372036854775808", "no valid JSON"),
        (
            "\"blocks\" : [\n      1\n    ]", "\"blocks\" : [9223372036854775807, 1]",
            "expected at most 8 blocks of 20,000 layers"
        ),
        ("\"blocks\" : [\n      1\n    ]", "\"blocks\" : [19999]", "block 1 would have 1399938 channels"),
        ("\"blocks\" : [\n      1\n    ]", "\"blocks\" : []", "expected at least one"),
        ("\"classes\" : 10", "\"classes\" : 0", "classes 0: expected 1 to 1,000,000"),
        ("\"learningRate\" : 0.1", "\"learningRate\" : -0.1", "`learningRate` is -0.1, expected a number above 0"),
        ("\"learningRate\" : 0.1", "\"learningRate\" : 1e400", "config.json"),
        ("\"warmUpEpochs\" : 1", "\"warmUpEpochs\" : -9223372036854775808", "`warmUpEpochs` is -9223372036854775808"),
        ("\"factor\" : 0.1", "\"factor\" : 1e300", "the learning rate's factor is 1e+300"),
        (
            "\"limitTrain\" : 10", "\"limitTrain\" : 9223372036854775807",
            "`limitTrain` is 9223372036854775807, expected 1 to 21"
        ),
        ("\"augment\" : \"none\"", "\"augment\" : \"none\\u0007\\n\"", "augmentation"),
        ("\"model\" : \"custom\"", "\"model\" : \"\\ud800\"", "no valid JSON"),
        ("\"seed\" : 1", "\"seed\" : " + String(repeating: "[", count: 10_000), "config.json"),
        ("\"seed\" : 1", "\"seed\" : " + String(repeating: "{\"a\":", count: 10_000), "config.json"),
    ]

    @Test(arguments: configurations)
    func `a configuration that no command line could have made is refused`(
        _ old: String, _ new: String, _ words: String
    ) throws {
        let folder = try RunFolder(path: scratch("run"), resuming: false)
        try folder.writeConfiguration(
            RunConfiguration(
                network: .init(
                    stem: .cifar, blocks: [1], growthRate: 70, stemChannels: 8, bottleneck: true, compression: 0.5,
                    classes: 10, image: 8),
                data: .init(limitTrain: 10), epochs: 3, batchSize: 4,
                schedule: LearningRateSchedule(shape: .step(milestones: [0.5], factor: 0.1), warmUpEpochs: 1),
                augmentation: .none))
        _ = try RunConfiguration(from: folder)
        let text = String(decoding: try scratch.read("run/config.json"), as: UTF8.self)
        try #require(text.contains(old), "\(text)")
        _ = try scratch.write(Array(text.replacing(old, with: new).utf8), to: "run/config.json")
        let failure = #expect(throws: Failure.self) { try RunConfiguration(from: folder) }
        #expect(failure?.kind == .data)
        #expect(failure?.message.hasPrefix(folder.configuration + ": ") == true)
        #expect(failure?.message.contains(words) == true, "\(failure as Any)")
    }

    @Test func `a configuration that is not a small file is refused unread`() throws {
        let folder = try RunFolder(path: scratch("run"), resuming: false)
        mkfifo(folder.configuration, 0o600)
        #expect(throws: Failure(.noInput, "cannot read \(folder.configuration): it is not a file")) {
            try RunConfiguration(from: folder)
        }
        unlink(folder.configuration)
        _ = try scratch.write([], to: "run/config.json")
        truncate(folder.configuration, 1 << 40)
        #expect(
            throws: Failure(
                .data,
                "\(folder.configuration): has 1099511627776 bytes, expected at most 1048576; it is a different file")
        ) { try RunConfiguration(from: folder) }
    }

    @Test func `the state in a checkpoint's metadata is refused unless it is a position in a run`() throws {
        let good = RunState([2, 3, 1.5, 10, 16, 0.5, 8]).metadata
        #expect(try RunState(good, path: "f").epoch == 2)
        let values = [
            "", "-1", "0", "0.5", "1e400", "nan", "inf", "-0.0", "1e308", "2147483648", "9223372036854775807",
            "0x1p1023", "2 ",
        ]
        for key in good.keys {
            for value in values {
                var metadata = good
                metadata[key] = value
                do {
                    let state = try RunState(metadata, path: "f")
                    #expect(state.epoch >= 1 && state.stepInEpoch >= 0 && state.numbers.allSatisfy(\.isFinite))
                } catch let failure as Failure { #expect(failure.kind == .data && failure.message.hasPrefix("f: ")) }
            }
            var metadata = good
            metadata[key] = nil
            // Older programs weighted no classes, and did not write it.
            if key == "loss_weight" {
                #expect(try RunState(metadata, path: "f").lossWeight == 16)
                continue
            }
            #expect(throws: Failure(.data, "f: the metadata key '\(key)' is missing, expected a number")) {
                try RunState(metadata, path: "f")
            }
        }
    }
}
