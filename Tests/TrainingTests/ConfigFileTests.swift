import FoundationEssentials
import TestSupport
import Testing
import Training

/// Options from files: `--config`, `--recipe`, and `--print-config`, which writes such a file.
@Suite struct ConfigFileTests {
    let scratch = ScratchFolder()

    private func file(_ text: String) throws -> String { try scratch.write(Array(text.utf8), to: "options.yaml") }

    /// What `train` would run, as `--print-config` has it: lines without their indentation.
    private func printed(_ options: [String], _ location: SourceLocation = #_sourceLocation) throws -> [String] {
        let job = try densenet(["train", "--print-config"] + options)
        try #require(job.status == 0, "\(job.errors)", sourceLocation: location)
        return job.output.lines.map { $0.trimmingPrefix { $0 == " " } }.map(String.init)
    }

    private func configuration(_ name: String) throws -> RunConfiguration {
        try JSONDecoder().decode(RunConfiguration.self, from: Data(scratch.read(name + "/config.json")))
    }

    private let small = """
        steps: 1
        batch-size: 16
        network:
          blocks: [1, 1]
          growth-rate: 4
          stem-channels: 4
          image: 8
        data: {limit-train: 64, limit-test: 32}
        """

    @Test func `options of a file, in sections or not, are as those of the command line, which win`() throws {
        let path = try file(small + "\nnesterov: no\nno-shuffle: true\nseed: ~\naugment: [flip, jitter]\n")
        try train(["--config", path, "--batch-size", "32"], out: scratch("by-file"))
        try train(
            smallRun + ["--batch-size=32", "--steps=1", "--no-nesterov", "--no-shuffle", "--augment=flip,jitter"],
            out: scratch("by-words"))
        #expect(try configuration("by-file") == configuration("by-words"))
        #expect(try scratch.read("by-file/weights.safetensors") == scratch.read("by-words/weights.safetensors"))
    }

    @Test func `the same file serves other commands, which leave out what training alone has`() throws {
        let path = try file(small)
        let described = try densenet(["describe", "--config=" + path])
        #expect(described.status == 0 && described.output.contains("denseblock2"), "\(described.errors)")
        #expect(try described.output == densenet(["describe", "--batch-size", "16"] + smallNetwork).output)
        try train(["--config", path], out: scratch("run"))
        let weights = ["--weights", scratch("run/weights.safetensors")]
        let tested = try densenet(["evaluate", "--config", path] + weights)
        #expect(tested.status == 0 && tested.output.contains(": 32 images"), "\(tested.errors)")
        #expect(try densenet(["evaluate", "--config", scratch("run/config.json")] + weights).output == tested.output)
        let images = ["synthesize", scratch("images"), "--train", "5", "--config", try file("test: 3\nepochs: 2")]
        #expect(try densenet(images).output.contains("5 training and 3 test images"))
    }

    @Test func `a list is several values for an option that may be repeated`() throws {
        let runs = [scratch("first"), scratch("second")]
        for run in runs { try train(smallRun + ["--steps", "1"], out: run) }
        let path = try file("weights: [\(runs[0]), \(runs[1])]\nlimit-test: 32\n")
        let job = try densenet(["evaluate", "--config", path])
        try #require(job.status == 0, "\(job.errors)")
        let words = try densenet(["evaluate", "--limit-test", "32", "--weights"] + runs)
        #expect(job.output == words.output && job.output.lines.count == 3, "\(job.output)")
        #expect(try densenet(["evaluate", "--config", path, "--weights", runs[0]]).output.lines.count != 3)
    }

    @Test func `a run's config.json begins the same run elsewhere, also over ranks`() throws {
        let options =
            smallRun + [
                "--steps", "2", "--mean", "0.5,0.25,0", "--std", "0.5,0.25,1", "--schedule", "cosine",
                "--no-decay-norm",
                "--keep", "2", "--no-shuffle", "--dropout", "0.1",
            ]
        try train(options, out: scratch("first"), ranks: 2)
        try train(["--config", scratch("first/config.json")], out: scratch("second"), ranks: 2)
        #expect(try configuration("first") == configuration("second"))
        #expect(try scratch.read("first/weights.safetensors") == scratch.read("second/weights.safetensors"))
    }

    @Test func `what is printed is read back as the same`() throws {
        let odd = ["--data", "synthetic", "--init", "a: \"b\" #c\\", "--mean", "0.5,0.25,0.1", "--std", "0.1,1,1"]
        let tuned =
            smallRun + ["--freeze", "stem,block1", "--freeze-norm", "--learning-rate-of", "norm=0.1,classifier=1"]
        let unbalanced = ["--class-weights", "./balanced", "--early-stop=3", "--best-by=auroc"]
        for options in [
            [], tuned, smallRun + ["--precision=bf16"] + unbalanced, odd + ["--threads", "2", "--out=-x y"],
        ] {
            let lines = try printed(options)
            let whole = try densenet(["train", "--print-config"] + options).output
            #expect(try printed(["--config", file(whole)]) == lines)
        }
        #expect(try printed(tuned).contains("learning-rate-of: \"norm=0.1,classifier=1.0\""))
        let lines = try printed(unbalanced)
        for line in ["class-weights: ./balanced", "early-stop: 3", "best-by: auroc"] { #expect(lines.contains(line)) }
        #expect(try printed(smallRun).contains("blocks: 1,1") && printed([]).contains("model: densenet-bc-22-12"))
        try train(smallRun + ["--epochs", "1"], out: scratch("run"))
        #expect(try printed(["--resume", scratch("run"), "--epochs", "9"]).contains("epochs: 9"))
        #expect(scratch.names == ["options.yaml", "run"])
    }

    @Test(arguments: [
        ("epoch: 3", "unknown key epoch; did you mean epochs?"),
        ("network:\n  growth_rate: 3", "unknown key network.growth_rate; did you mean growth-rate?"),
        ("netwrk:\n  image: 3", "unknown section netwrk; did you mean network?"),
        (
            "schedule: cosin",
            "'cosin' is no value of schedule; expected step, cosine, linear, triangle, one-cycle, constant; did you mean cosine?"
        ),
        ("nesterov: tru", "'tru' is no value of nesterov; expected true, false; did you mean true?"),
        ("epochs: many", "epochs: The value 'many' is invalid for '--epochs"),
        ("data: {limit-train: x}", "limit-train: The value 'x' is invalid for '--limit-train"),
        ("augment: [crop, flop]", "augment: The value 'crop,flop' is invalid"),
        ("epochs: [[1]]", "the value of epochs is neither a value nor a list of values"),
        ("epochs: 1\nnetwork: {epochs: 2}", "epochs is given twice"),
        ("nesterov: true\nno-nesterov: true", "no-nesterov is given twice"),
        ("- 3", "expected options and their values"),
        ("config: other.yaml", "unknown key config"),
        (
            "recipe: papr",
            "'papr' is no value of recipe; expected paper, writeup, fast-4, fast-25, finetune; did you mean paper?"
        ),
    ])
    func `a key or value that is none is named, with the file and the nearest that is`(
        _ text: String, _ words: String
    ) throws {
        let path = try file(text)
        let job = try densenet(["train", "--config", path, "--out", scratch("run")])
        #expect(job.status == 64 && job.errors.lines.count == 1, "\(job.errors)")
        #expect(job.errors.hasPrefix("densenet: \(path): \(words)"), "\(job.errors)")
        #expect(scratch.names == ["options.yaml"])
    }

    @Test func `a file that is missing or no YAML, and a key that config.json does not have, are named`() throws {
        let missing = try densenet(["train", "--config", scratch("none.yaml")])
        #expect(missing.status == 66 && missing.errors.contains(scratch("none.yaml")), "\(missing.errors)")
        let broken = try densenet(["train", "--config", file("a: [1, 2")])
        #expect(broken.status == 65 && broken.errors.contains("options.yaml: is no YAML: "), "\(broken.errors)")
        #expect(broken.errors.lines.count == 1, "\(broken.errors)")
        try train(smallRun + ["--steps", "1"], out: scratch("run"))
        let text = String(decoding: try scratch.read("run/config.json"), as: UTF8.self)
        let path = try file(text.replacing("momentum", with: "momentun"))
        let unread = try densenet(["train", "--config", path])
        #expect(unread.status == 65 && unread.errors.contains("optimizer.momentum"), "\(unread.errors)")
        let more = try file(text.replacing("\"momentum\"", with: "\"nesterow\" : true, \"momentum\""))
        let unknown = try densenet(["train", "--config", more])
        #expect(unknown.status == 64, "\(unknown.errors)")
        #expect(unknown.errors.contains("unknown key optimizer.nesterow; did you mean nesterov?"), "\(unknown.errors)")
    }

    @Test func `an option takes the place of those in a file that it excludes`() throws {
        let path = try file(small + "\nschedule: step\nmilestones: [0.3]\n")
        let named = try printed(["--config", path, "--model", "densenet-bc-10-4", "--schedule", "cosine"])
        #expect(named.contains("model: densenet-bc-10-4") && named.contains("schedule: cosine"))
        #expect(!named.contains { $0.hasPrefix("growth-rate") || $0.hasPrefix("milestones") })
        let described = try densenet(["describe", "densenet-bc-10-4", "--config", path])
        #expect(described.status == 0, "\(described.errors)")
    }

    @Test func `recipes are the paper's for the network and the write-up's, and options win`() throws {
        let writeup = try printed(["--recipe", "writeup", "--epochs", "7"])
        for line in [
            "model: densenet121", "nesterov: false", "momentum: 0.9", "weight-decay: 0.001", "batch-size: 64",
            "learning-rate: 0.1", "milestones: 0.5,0.75", "augment: crop,flip,jitter", "normalize: pixel-mean",
            "epochs: 7",
        ] { #expect(writeup.contains(line), "\(writeup)") }
        let cifar = try printed(["--recipe", "paper", "--config", file("batch-size: 32")])
        for line in ["epochs: 300", "batch-size: 32", "nesterov: true", "weight-decay: 0.0001", "augment: crop,flip"] {
            #expect(cifar.contains(line), "\(cifar)")
        }
        let other = try printed(["--config", file("recipe: paper"), "--model", "densenet121"])
        #expect(other.contains("epochs: 90") && other.contains("batch-size: 256"), "\(other)")
        #expect(try printed(["--recipe=writeup", "--blocks=1,1"]).contains("blocks: 1,1"))
    }

    @Test func `the recipe for fine-tuning leaves network, weights and augmentation to the user`() throws {
        let given = try printed(["--recipe", "finetune", "--model", "densenet-bc-22-12", "--epochs", "5"])
        for line in [
            "model: densenet-bc-22-12", "epochs: 5", "batch-size: 32", "decay-norm: false", "augment: crop,flip",
        ] {
            #expect(given.contains(line), "\(given)")
        }
    }

    @Test(arguments: ["fast-4", "fast-25"])
    func `a fast recipe has a network of its own, and options win`(_ recipe: String) throws {
        let small = ["--limit-train", "32", "--limit-test", "8", "--batch-size", "16", "--epochs", "1"]
        let run = try densenet(["train", "--recipe", recipe, "--out", scratch(recipe)] + small)
        #expect(run.status == 0 && run.output.contains("\nlast, average with flip: test accuracy "), "\(run)")
        let other = try printed(["--recipe", recipe, "--model", "densenet-bc-10-4", "--ema", "0.5"])
        #expect(other.contains("model: densenet-bc-10-4") && other.contains("ema: 0.5"), "\(other)")
        #expect(!other.contains { $0.hasPrefix("blocks") || $0.hasPrefix("stem-stride") }, "\(other)")
    }
}
