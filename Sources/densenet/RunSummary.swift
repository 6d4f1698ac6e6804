import Support
import Training

/// What a run came to, from its folder: the last screen.
struct RunSummary {
    private let epochs: [EpochMetrics]
    private let folder: String

    /// - Parameter path: of the run folder. A log that cannot be read is taken for one without epochs: the run has
    ///   succeeded all the same.
    init(path: String) {
        folder = path
        epochs = (try? MetricsLog(path: path + "/metrics.jsonl").epochs()) ?? []
    }

    /// The highest test accuracy so far, of the average where there is one.
    var bestAccuracy: Double { epochs.best?.decidingAccuracy ?? -1 }

    /// How long the last evaluation took.
    var evaluationSeconds: Double { epochs.last?.evaluationSeconds ?? .nan }

    /// Prints it; the path of the weights comes last.
    ///
    /// - Parameters:
    ///   - seconds: how long this start took; nil where it did nothing.
    ///   - checkpoints: those of this start, and how long training waited for them.
    func show(seconds: Double?, checkpoints: (written: Int, waitSeconds: Double)?) {
        if let last = epochs.last, let best = epochs.best {
            Console.say(time(seconds))
            let plain = TestResult(last.testLoss, last.testAccuracy)
            let bestResult = best.average ?? TestResult(best.testLoss, best.testAccuracy)
            let words = best.average == nil ? "" : ", average"
            Console.say("best\(words): epoch \(best.epoch), \(text(bestResult))", in: .green)
            Console.say("last: epoch \(last.epoch), \(text(plain))")
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
        "test accuracy \(result.accuracy.formatted(places: 4)), test loss \(result.loss.formatted(places: 4))"
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
