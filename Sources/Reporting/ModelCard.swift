import DenseNetModel
import Support
import Training

/// A run on one screen of Markdown: what the weights are, how they were made and how to load them.
package struct ModelCard {
    private let run: ReportedRun

    package init(_ run: ReportedRun) { self.run = run }

    /// Writes `RUN/README.md`, atomically.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses.
    package func write() throws { try AtomicFile.write(Array(text.utf8), to: run.path + "/README.md") }

    /// The card.
    package var text: String {
        let rows = facts.map { "| \($0.0) | \(escaped($0.1)) |" }.joined(separator: "\n")
        return """
            # \(escaped("\(run.configuration.model) on \(run.configuration.data.name)"))

            | | |
            |---|---|
            \(rows)

            \(origin)[report.html](report.html) has the curves, the confusion matrix and the most confident mistakes.

            ## Use

            \(code(use))
            \(python.map { "\nIn Python\($0.comment):\n\n\(code($0.lines))\n" } ?? "")
            """
    }

    private var facts: [(String, String)] {
        let (configuration, record) = (run.configuration, run.record)
        let network = configuration.network
        var rows = [("accuracy", accuracy)]
        if let last = run.epochs.last, let measures = measures(of: last.measures) { rows.append(("classes", measures)) }
        if let last = run.epochs.last { rows.append(("test loss", "\(plain(last.testLoss, 4)) (cross-entropy)")) }
        rows.append(("data", data))
        rows.append(
            (
                "network",
                "\(model), \(network.image)×\(network.image) images, \(network.classes) classes"
                    + (record.map { ", \($0.parameters.grouped) parameters" } ?? "")
            ))
        rows.append(("recipe", recipe))
        rows.append(("seed", "\(configuration.seed)"))
        if let start = record?.starts.last {
            let machine = start.machine
            rows.append(
                (
                    "machine",
                    "\(machine.ranks) rank\(machine.ranks == 1 ? "" : "s") × \(machine.threads) "
                        + "thread\(machine.threads == 1 ? "" : "s") on \(machine.hosts.joined(separator: ", ")): "
                        + "\(machine.processor), \(machine.vectorLevel)"
                ))
            rows.append(("program", "\(start.program), \(start.began)"))
        }
        rows.append(("time", "\(duration(run.seconds)) (h:mm:ss) of training and evaluation"))
        return rows
    }

    private var model: String {
        let (model, network) = (run.configuration.model, run.configuration.network)
        guard model == RunConfiguration.customModel else { return model }
        let blocks = network.blocks.map { "\($0)" }.joined(separator: ", ")
        return "\(network.bottleneck ? "dense layers with bottleneck" : "dense layers"), blocks of \(blocks), "
            + "\(network.growth), compression \(network.compression), \(network.stem.rawValue) stem"
            + (network.stem == .cifar && network.stemStride == 2 ? " of stride 2" : "")
    }

    private var accuracy: String {
        guard let last = run.epochs.last else { return "no epoch is evaluated" }
        var text = "\(percent(last.testAccuracy)) of the test images after epoch \(last.epoch)"
        for (name, result) in last.furtherResults { text += "; \(name) \(percent(result.accuracy))" }
        if last.average != nil { text += "; the average is ema.safetensors" }
        if let best = run.best {
            text += "; best \(percent(best.deciding.accuracy)) in \(run.place(ofBest: best)) (best.safetensors)"
        }
        return text
    }

    /// Nil in logs of older programs.
    private func measures(of measures: ClassMeasures) -> String? {
        let parts = [
            measures.macroRecall.map { "macro recall (balanced accuracy) \(percent($0))" },
            measures.macroPrecision.map { "macro precision \(percent($0))" },
            measures.topFive.map { "top-5 accuracy \(percent($0))" },
            measures.auroc.map { "AUROC \(plain($0, 4)), the mean of each class against the rest" },
        ].compactMap(\.self)
        return parts.isEmpty ? nil : parts.joined(separator: ", ")
    }

    private var data: String {
        let name = run.configuration.data.name
        guard let images = run.record?.data else { return name }
        let limit = 10
        let classes = images.classes.prefix(limit).joined(separator: ", ")
        let more = images.classes.count > limit ? ", … (\(images.classes.count) classes)" : ""
        return "\(name): \(images.train.grouped) training and \(images.test.grouped) test images"
            + (classes.isEmpty ? "" : "; \(classes)\(more)")
    }

    private var recipe: String {
        let run = run.configuration
        let momentum = (run.optimizer.nesterov ? "Nesterov momentum " : "momentum ") + "\(run.optimizer.momentum)"
        var parts = [
            "\(run.epochs) epoch\(run.epochs == 1 ? "" : "s")", "batches of \(run.batchSize)",
            "learning rate \(run.schedule.learningRate) (\(run.schedule.shape))"
                + (run.baseBatch.map { " for \($0) images" } ?? ""), momentum,
            "weight decay \(run.optimizer.weightDecay)", "augmentation \(run.augmentation)",
            "normalization \(run.normalization)",
        ]
        if run.statistics != .globalBatch { parts.append("batch statistics of \(run.statistics)") }
        if run.schedule.warmUpEpochs > 0 { parts.append("warm-up of \(run.schedule.warmUpEpochs) epochs") }
        if run.network.dropout > 0 { parts.append("dropout \(run.network.dropout)") }
        if run.labelSmoothing > 0 { parts.append("label smoothing \(run.labelSmoothing)") }
        if let weights = run.classWeights {
            parts.append("classes weighted " + (weights.path == nil ? "by balance" : "as in \(weights)"))
        }
        if let patience = run.earlyStop { parts.append("at most \(patience) epochs without a better one") }
        if run.normMomentum != TrainableDenseNet.defaultNormMomentum {
            parts.append("norm momentum \(run.normMomentum)")
        }
        if let decay = run.averageDecay { parts.append("moving average of the weights with decay \(decay)") }
        if let initial = run.initialWeights { parts.append("from the weights \(initial)") }
        if let freeze = run.fineTuning.freeze {
            let how = run.fineTuning.freezeNorm ? " with their norms" : ""
            parts.append("frozen\(how): \(freeze.map(\.rawValue).joined(separator: " "))")
        }
        if let rates = run.fineTuning.learningRateOf { parts.append("learning rates of their own: \(rates)") }
        return parts.joined(separator: ", ") + ", \(run.precision.rawValue)"
    }

    /// The commands that made it.
    private var origin: String {
        guard let starts = run.record?.starts, let first = starts.first else { return "" }
        let more = starts.count > 1 ? ["# started \(starts.count) times; the last time:", command(starts.last!)] : []
        return "Made by\n\n\(code([command(first)] + more))\n\n"
    }

    private func command(_ start: RunRecord.Start) -> String {
        "./launch.sh -n \(start.machine.ranks) " + shellLine(start.command)
    }

    private var use: [String] {
        let folder = shellLine([run.path])
        let source = run.configuration.data
        var options = ["--data", source.path ?? "synthetic"]
        if let limit = source.limitTest { options += ["--limit-test", "\(limit)"] }
        if source.path == nil { options += ["--seed", "\(run.configuration.seed)"] }
        return [
            "./launch.sh evaluate --weights \(folder) \(shellLine(options))",
            "./launch.sh -n 1 predict --weights \(folder) picture.png",
            "./launch.sh export --to onnx model.onnx --weights \(folder)",
        ]
    }

    /// How PyTorch loads the weights; nil for a network that none of its loaders has.
    private var python: (comment: String, lines: [String])? {
        let path = "'" + run.path.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "/weights.safetensors'"
        let network = run.configuration.network
        guard network.stem == .imagenet else {
            return (
                ", beside densenet_cifar.py of docs/pytorch",
                [
                    "from densenet_cifar import load", "network, normalize = load(\(path))",
                    "logits = network(normalize(images))    # float, [N, 3, \(network.image), \(network.image)], in 0…1",
                ]
            )
        }
        guard network.bottleneck, network.compression == 0.5, let growthRate = network.growthRate else { return nil }
        let blocks = network.blocks.map { "\($0)" }.joined(separator: ", ")
        return (
            "; images are normalized as the file's metadata says",
            [
                "from safetensors.torch import load_file", "from torchvision.models import DenseNet",
                "network = DenseNet(\(growthRate), (\(blocks)), \(network.stemChannels), num_classes=\(network.classes))",
                "network.load_state_dict(load_file(\(path)))",
            ]
        )
    }

    /// A block of code: no line of it ends it, or is anything else.
    private func code(_ lines: [String]) -> String {
        lines.map { "    " + ModelCard.oneLine($0) }.joined(separator: "\n")
    }

    /// Text that Markdown shows as it is, in a cell of a table too.
    private func escaped(_ text: String) -> String {
        ModelCard.oneLine(text).map { "\\`*_[]<>|#&~!".contains($0) ? "\\\($0)" : String($0) }.joined()
    }

    private static func oneLine(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{FFFD}" : $0 }))
    }
}
