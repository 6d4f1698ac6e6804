import Support
import Training

/// The line that a failure ends with, on standard error.
@Sendable func tellUser(_ failure: Failure) { Console.note(withOptionNames(failure.message)) }

/// A message of the libraries, with options in place of the parameters that stand in it in backticks.
func withOptionNames(_ message: String) -> String {
    message.replacing(/`([a-zA-Z0-9]+)`/) { optionName(String($0.1)) }
}

/// The option that sets a parameter: `--batch-size` for `batchSize`.
private func optionName(_ parameter: String) -> String {
    switch parameter {
    case "path": "--data"
    case "warmUpEpochs": "--warm-up"
    case "shape": "--schedule"
    case "growthRates": "--growth-rate"
    case "decaysNorms": "--decay-norm"
    case "augmentation": "--augment"
    case "normalization": "--normalize"
    case "statistics": "the scope of batch statistics (--statistics-group, --no-sync-bn)"
    case "initialWeights": "--init"
    case "evaluates": "--evaluate"
    case "averageDecay": "--ema"
    case "finalViews": "--tta"
    case "resuming": "train --resume"
    // Flags that switch off what is on by default.
    case "bottleneck": "the bottleneck (--no-bottleneck)"
    case "shuffle": "shuffling (--no-shuffle)"
    default: "--" + parameter.replacing(/[A-Z]/) { "-" + $0.0.lowercased() }
    }
}
