import FoundationEssentials
import Support
import TestSupport
import Testing

@testable import Training

/// How the command line becomes a run's configuration.
@Suite struct OptionValueTests {
    let scratch = ScratchFolder()

    @Test(arguments: [
        (["--augment", "crop,flop"], "'crop,flop' is invalid for '--augment"), (["--augment=none,crop"], "'none,crop'"),
        (["--augment=crop,"], "'crop,'"), (["--augment", " "], "vertical-flip, jitter, cutout, erase"),
        (
            ["--augment", "reflect-crop:16", "--blocks", "1"],
            "reflects 16 pixels, expected less than half of the image's 32"
        ),
        (["--ema", "1"], "--ema is 1.0, expected above 0 and below 1"), (["--ema", "nan"], "--ema is nan, expected"),
        (["--early-stop", "0"], "--early-stop is 0, expected 1 to 1,000,000 epochs"),
        (["--best-by", "recall"], "'accuracy', 'loss', 'macro-recall' or 'auroc'"),
        (["--norm-momentum", "0"], "--norm-momentum is 0.0, expected above 0, up to 1"),
        (["--norm-momentum", "1.1"], "--norm-momentum is 1.1, "), (["--tta", "mirror"], "'none' and 'flip'"),
        (["--base-batch", "0"], "--base-batch is 0, expected 1 to 1,000,000"),
        (["--statistics-group", "0"], "--statistics-group is 0, expected 1 to 1,000,000 images"),
        (["--statistics-group", "8", "--no-sync-bn"], "--statistics-group and --no-sync-bn both say whose statistics"),
        (
            ["--statistics-group", "24", "--batch-size", "64"],
            "--batch-size 64 is not in groups of --statistics-group 24; a multiple is, such as 48 or 72"
        ),
        (["--mean", "1,2", "--std", "1,1,1"], "--mean is [1.0, 2.0], expected three numbers"),
        (["--mean", "a,1,1", "--std", "1,1,1"], "'a,1,1' is invalid for '--mean"),
        (["--mean", "0,,0,0", "--std", "1,1,1"], "'0,,0,0' is invalid for '--mean"),
        (["--mean", "0,0,0", "--std", "1,0,1"], "--std is [1.0, 0.0, 1.0], expected numbers above zero"),
        (["--mean", "0,0,0", "--std=1,-1,1"], "--std is "), (["--mean", "0,0,0", "--std", "1,nan,1"], "--std is "),
        (["--mean", "0,0,0"], "--mean and --std go together"),
        (["--mean", "0,0,0", "--std", "1,1,1", "--normalize", "none"], "--normalize and --mean both"),
        (["--normalize", "pixels"], "'channel', 'pixel-mean' or 'none'"),
        (["--schedule", "steps"], "one of 'step', 'cosine', 'linear', 'triangle', 'one-cycle', 'constant'"),
        (["--schedule", "cosine", "--milestones", "0.5"], "--milestones 0.5 means nothing to --schedule cosine"),
        (["--milestones", "0.5,,0.7"], "'0.5,,0.7' is invalid for '--milestones"),
        (["--milestones", "0.7,0.5"], "--milestones is 0.7,0.5, expected ascending fractions"),
        (["--milestones", "150,225"], "--milestones is 150.0,225.0"), (["--milestones", "nan"], "--milestones is nan"),
        (["--milestones="], "--milestones"),
        (["--learning-rate", "0"], "--learning-rate is 0.0, expected a number above"),
        (["--learning-rate", "nan"], "--learning-rate is nan"), (["--warm-up=-1"], "--warm-up is -1"),
        (["--schedule", "one-cycle", "--warm-up", "1"], "has a warm-up of its own"),
        (["--schedule", "triangle", "--warm-up", "1"], "the triangle schedule has a warm-up"),
        (
            ["--blocks", "2,2", "--growth-rate", "4,8,16"],
            "growth rates [4, 8, 16]: expected one for all blocks, or one for each of the 2"
        ),
        (["--blocks", "2", "--stem-stride", "3"], "stem stride 3: expected 1 or 2"),
        (["--blocks", "2,x"], "'2,x' is invalid for '--blocks"), (["--stem", "round"], "'cifar' and 'imagenet'"),
        (["--on-nonfinite", "go"], "'stop' and 'skip'"),
        (["--model", "densenet121", "--growth-rate", "3"], "--growth-rate goes with --blocks"),
    ])
    func `an invalid value is named, with the valid ones`(_ options: [String], _ words: String) throws {
        let job = try densenet(["train", "--out", scratch("run")] + options)
        #expect(job.status == 64 && job.errors.lines.count == 1, "\(job.errors)")
        #expect(job.errors.hasPrefix("densenet: ") && job.errors.contains(words), "\(job.errors)")
        #expect(scratch.names.isEmpty)
    }

    @Test func `bfloat16 on a CPU without instructions for it is said to be slow, once`() throws {
        let options = smallNetwork + ["--batch-size", "8", "--steps", "1", "--precision", "bf16"]
        let run = ["train", "--limit-train", "8", "--limit-test", "8", "--out", scratch("run")] + options
        for (words, ranks) in [(["bench"] + options, 1), (run, 2)] {
            let job = try densenet(words, ranks: ranks, environment: ["DENSENET_SIMD": "v3"])
            #expect(job.status == 0 && job.errors.lines.count == 1, "\(job.errors)")
            #expect(job.errors.hasPrefix("densenet: bf16 on this CPU is emulated and slow: "), "\(job.errors)")
        }
    }

    @Test func `options become the configuration, with defaults for the others`() throws {
        func configuration(_ options: [String]) throws -> RunConfiguration {
            let name = "\(scratch.names.count)"
            try train(smallRun + ["--steps", "1"] + options, out: scratch(name))
            return try JSONDecoder().decode(RunConfiguration.self, from: Data(scratch.read(name + "/config.json")))
        }
        let plain = try configuration([])
        #expect(plain == RunConfiguration(network: plain.network, data: plain.data, epochs: 5, steps: 1, batchSize: 16))
        #expect(plain.network.growthRates == [4] && plain.data.limitTrain == 64)
        let full = try configuration([
            "--augment", "jitter,crop", "--normalize", "pixel-mean", "--schedule", "step", "--milestones", "0.3,0.6",
            "--warm-up", "1", "--learning-rate", "0.05", "--momentum", "0.5", "--no-nesterov", "--weight-decay", "0",
            "--no-decay-norm", "--label-smoothing", "0.1", "--seed", "7", "--no-shuffle", "--precision", "bf16",
            "--epochs", "3", "--keep", "2", "--checkpoint-steps", "9", "--on-checkpoint-error", "continue",
            "--on-nonfinite", "skip", "--dropout", "0.1", "--ema", "0.99", "--norm-momentum", "1", "--tta", "flip",
            "--statistics-group", "8", "--freeze", "block1,stem", "--freeze-norm", "--learning-rate-of",
            "classifier=0.2,block2=1e-3", "--class-weights", "balanced", "--early-stop", "4", "--best-by",
            "macro-recall",
        ])
        var expected = RunConfiguration(
            network: plain.network, data: plain.data, epochs: 3, steps: 1, earlyStop: 4, bestBy: .macroRecall,
            batchSize: 16, seed: 7, shuffle: false,
            schedule: LearningRateSchedule(
                shape: .step(milestones: [0.3, 0.6], factor: 0.1), learningRate: 0.05, warmUpEpochs: 1),
            statistics: .group(images: 8),
            optimizer: OptimizerConfiguration(momentum: 0.5, nesterov: false, weightDecay: 0, decaysNorms: false),
            labelSmoothing: 0.1, classWeights: full.classWeights, normMomentum: 1, averageDecay: 0.99,
            finalViews: .imageAndMirrorImage,
            augmentation: .init(crop: true, jitter: true), normalization: .pixelMean,
            precision: .bfloat16,
            fineTuning: FineTuning(
                freeze: [.stem, .block(1)], freezeNorm: true,
                learningRateOf: PartRates([(.block(2), 0.001), (.classifier, 0.2)])),
            faults: FaultPolicy(keep: 2, checkpointSteps: 9, onCheckpointError: .continue, onNonfinite: .skip))
        expected.network.dropout = 0.1
        expected.version = 3
        #expect(full == expected && full.classWeights?.path == nil && full.classWeights?.values?.count == 10)
        #expect(try configuration(["--no-sync-bn"]).statistics == .rank)
        let given = try configuration(["--mean", "0.5,0.25,0", "--std", "0.5,0.25,1"])
        #expect(given.normalization == .explicit(mean: [0.5, 0.25, 0], std: [0.5, 0.25, 1]))
    }

    @Test func `the configuration of an older program is read, and written so that the older program can read it`()
        throws
    {
        let text = """
            {"augment":"flip,crop","batchSize":16,"data":{"limitTrain":64},"epochs":2,"labelSmoothing":0,"model":"custom",
            "network":{"blocks":[1,1],"bottleneck":true,"classes":10,"compression":0.5,"dropout":0,"growthRate":4,"image":8,
            "stem":"cifar","stemChannels":4},"normalization":{"explicit":{"mean":"0.5,0.25,0.1","std":"0.2,1,1"}},
            "optimizer":{"decaysNorms":true,"momentum":0.9,"nesterov":true,"weightDecay":0.0001},SAFETY"schedule":{"learningRate":0.1,
            "shape":{"step":{"factor":0.1,"milestones":[0.3,0.6]}},"warmUpEpochs":0},"seed":1,"shuffle":true,"version":1}
            """
        for safety in ["", "\"safety\":{},", "\"safety\":{\"keep\":7},"] {
            let old = Data(text.replacing("SAFETY", with: safety).utf8)
            let read = try JSONDecoder().decode(RunConfiguration.self, from: old)
            #expect(read.fineTuning == FineTuning())
            #expect(read.averageDecay == nil && read.normMomentum == 0.1 && read.finalViews == .image)
            #expect(read.augmentation == .init(crop: true, flip: true) && read.precision == .float32)
            #expect(read.normalization == .explicit(mean: [0.5, 0.25, 0.1], std: [0.2, 1, 1]))
            #expect(read.faults == FaultPolicy(keep: safety.contains("7") ? 7 : 3))
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys
            let written = String(decoding: try encoder.encode(read), as: UTF8.self)
            for part in [
                "\"augment\":\"crop,flip\"", "\"explicit\":{\"mean\":\"0.5,0.25,0.1\",\"std\":\"0.2,1.0,1.0\"}",
                "\"precision\":\"f32\"", "\"shape\":{\"step\":{\"factor\":0.1,\"milestones\":[0.3,0.6]}}",
                "\"safety\":{\"keep\":", "\"onCheckpointError\":\"stop\"", "\"version\":1",
            ] { #expect(written.contains(part), "\(written)") }
        }
    }
}
