import Support
import Training

/// What a run came to, from its folder: the last screen.
struct RunSummary {
    private let epochs: [EpochMetrics]
    private let folder: String
    private let measure: BestMeasure

    /// - Parameters:
    ///   - path: of the run folder. A log that cannot be read is taken for one without epochs: the run has succeeded all
    ///     the same.
    ///   - measure: what decides which epoch is the best.
    init(path: String, bestBy measure: BestMeasure) {
        folder = path
        self.measure = measure
        epochs = (try? MetricsLog(path: path + "/metrics.jsonl").epochs()) ?? []
    }

    /// The best value of the measure so far, of the average where there is one.
    var bestValue: Double? { epochs.best(by: measure).flatMap { measure.value(of: $0.deciding) } }

    /// How long the last evaluation took.
    var evaluationSeconds: Double { epochs.last?.evaluationSeconds ?? .nan }

    /// Prints it; the path of the weights comes last.
    ///
    /// - Parameters:
    ///   - seconds: how long this start took; nil where it did nothing.
    ///   - checkpoints: those of this start, and how long training waited for them.
    func show(seconds: Double?, checkpoints: (written: Int, waitSeconds: Double)?) {
        if let last = epochs.last, let best = epochs.best(by: measure) {
            Console.say(time(seconds))
            let words = best.average == nil ? "" : ", average"
            Console.say("best\(words): epoch \(best.epoch), \(text(best.deciding))", in: .green)
            Console.say("last: epoch \(last.epoch), \(text(last.test))")
            for (name, result) in last.furtherResults {
                Console.say("last, \(name): \(text(result))")
            }
        }
        if let checkpoints {
            Console.say(
                "checkpoints: \(checkpoints.written) written, training waited "
                    + "\(checkpoints.waitSeconds.formatted(places: 2)) s for them")
        }
        // Runs of older programs have none, nor those where it could not be written.
        let report = folder + "/report.html"
        if (try? FileSystem.exists(report)) == true { Console.say("report: \(report)") }
        Console.say("metrics: \(folder)/metrics.jsonl")
        Console.say("best weights: \(folder)/best.safetensors")
        if epochs.last?.average != nil { Console.say("averaged weights: \(RunFolder.averages(of: folder))") }
        Self.showWeights(of: folder)
    }

    static func showWeights(of folder: String) { Console.say("weights: \(folder)/weights.safetensors") }

    private func text(_ result: TestResult) -> String {
        let further =
            [.accuracy, .loss].contains(measure)
            ? "" : measure.value(of: result).map { ", \(measure.words) \($0.formatted(places: 4))" } ?? ""
        return "test accuracy \(result.accuracy.formatted(places: 4)), test loss \(result.loss.formatted(places: 4))"
            + further
    }

    /// Of all epochs, whichever start they were trained in. Old logs lack some of the numbers.
    private func time(_ start: Double?) -> String {
        func sum(_ value: (EpochMetrics) -> Double) -> Double {
            epochs.map(value).filter(\.isFinite).reduce(0, +)
        }
        let steps = sum(\.epochSeconds)
        let images = sum { $0.imagesPerSecond * $0.epochSeconds }
        let all = steps + sum(\.evaluationSeconds) + sum(\.checkpointWaitSeconds)
        return "\(counted(epochs.count, "epoch")) in \(duration(all))"
            + (start.map { " (this start: \(duration($0)))" } ?? "")
            + ", \((steps > 0 ? images / steps : 0).formatted(places: 1)) images/s"
    }
}
