import ImageData
import Support
import Training

/// A run's configuration as the options of `train` that make it.
enum RunOptions {
    /// - Throws: `Failure(.usage)` for a configuration that no options make.
    static func entries(of run: RunConfiguration) throws -> [ConfigEntry] {
        var list = network(of: run)
        func add(_ name: String, _ value: (some Any)?) {
            if let value { list.append(ConfigEntry(name: name, value: "\(value)")) }
        }
        add("data", run.data.path ?? "synthetic")
        add("list", run.data.list)
        add("split", run.data.split)
        add("on-bad-image", run.data.onBadImage?.rawValue)
        add("cache", run.data.cache)
        add("limit-train", run.data.limitTrain)
        add("limit-test", run.data.limitTest)
        switch run.normalization {
        case .explicit(let mean, let std):
            add("mean", commaSeparated(mean))
            add("std", commaSeparated(std))
        default: add("normalize", run.normalization)
        }
        add("augment", run.augmentation)
        add("epochs", run.epochs)
        add("steps", run.steps)
        add("early-stop", run.earlyStop)
        add("best-by", run.bestBy.rawValue)
        add("batch-size", run.batchSize)
        add("learning-rate", run.schedule.learningRate)
        add("base-batch", run.baseBatch)
        add("schedule", ScheduleName(run.schedule.shape).rawValue)
        if case .step(let milestones, let factor) = run.schedule.shape {
            guard factor == 0.1 else {
                throw Failure(.usage, "the learning rate's factor is \(factor); options have only 0.1")
            }
            add("milestones", commaSeparated(milestones))
        }
        if case .group(let images) = run.statistics { add("statistics-group", images) }
        add("no-sync-bn", run.statistics == .rank)
        add("warm-up", run.schedule.warmUpEpochs)
        add("image-schedule", run.imageSchedule)
        add("momentum", run.optimizer.momentum)
        add("nesterov", run.optimizer.nesterov)
        add("weight-decay", run.optimizer.weightDecay)
        add("decay-norm", run.optimizer.decaysNorms)
        add("label-smoothing", run.labelSmoothing)
        add("class-weights", run.classWeights)
        add("norm-momentum", run.normMomentum)
        add("ema", run.averageDecay)
        add("test-image", run.testImage)
        add("tta", run.finalViews.rawValue)
        add("seed", run.seed)
        add("no-shuffle", !run.shuffle)
        add("init", run.initialWeights)
        add("init-strict", run.fineTuning.initStrict)
        add("freeze", run.fineTuning.freeze.map { commaSeparated($0.map(\.rawValue)) })
        add("freeze-norm", run.fineTuning.freezeNorm)
        add("learning-rate-of", run.fineTuning.learningRateOf)
        add("keep", run.faults.keep)
        add("checkpoint-steps", run.faults.checkpointSteps)
        add("on-checkpoint-error", run.faults.onCheckpointError.rawValue)
        add("on-nonfinite", run.faults.onNonfinite.rawValue)
        add("precision", run.precision.rawValue)
        return list
    }

    private static func network(of run: RunConfiguration) -> [ConfigEntry] {
        let network = run.network
        let common = [
            ConfigEntry(name: "dropout", value: "\(network.dropout)"),
            ConfigEntry(name: "classes", value: "\(network.classes)"),
            ConfigEntry(name: "image", value: "\(network.image)"),
            ConfigEntry(name: "channels", value: "\(network.imageChannels)"),
        ]
        guard run.model == RunConfiguration.customModel else {
            return [ConfigEntry(name: "model", value: run.model)] + common
        }
        return [
            ConfigEntry(name: "blocks", value: commaSeparated(network.blocks)),
            ConfigEntry(
                name: "growth-rate", value: commaSeparated(network.growthRates)),
            ConfigEntry(name: "stem", value: network.stem.rawValue),
            ConfigEntry(name: "stem-stride", value: "\(network.stemStride)"),
            ConfigEntry(name: "stem-channels", value: "\(network.stemChannels)"),
            ConfigEntry(name: "no-bottleneck", value: "\(!network.bottleneck)"),
            ConfigEntry(name: "compression", value: "\(network.compression)"),
        ] + common
    }

    private static func commaSeparated(_ numbers: [some Any]) -> String {
        numbers.map { "\($0)" }.joined(separator: ",")
    }

    /// The entries as a file that `--config` reads, in sections as `--help` groups the options.
    static func yaml(_ entries: [ConfigEntry], _ options: CommandOptions) -> String {
        var sections: [String?] = [nil]
        for option in options.options where !sections.contains(option.section) { sections.append(option.section) }
        let texts = sections.compactMap { section -> String? in
            let lines = entries.filter { options[$0.name]?.section == section }.map {
                (section == nil ? "" : "  ") + "\($0.name): \(quoted($0.value))"
            }
            guard !lines.isEmpty else { return nil }
            return ((section.map { ["\($0):"] } ?? []) + lines).joined(separator: "\n")
        }
        return texts.joined(separator: "\n")
    }

    /// Text that YAML would take for something else stands in quotes.
    private static func quoted(_ text: String) -> String {
        if text.wholeMatch(of: /[A-Za-z0-9.\/_][A-Za-z0-9.\/_,+-]*/) != nil, text != "null" { return text }
        let escaped = text.unicodeScalars.map { scalar in
            switch scalar {
            case "\"", "\\": "\\\(scalar)"
            case _ where scalar.properties.generalCategory == .control:
                "\\u" + String(scalar.value, radix: 16).paddedWithZeros(to: 4)
            default: String(scalar)
            }
        }
        return "\"\(escaped.joined())\""
    }
}
