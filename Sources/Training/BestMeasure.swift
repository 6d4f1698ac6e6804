import Support

/// What decides which epoch of a run is the best; the names are those of options and config.json.
public enum BestMeasure: String, Codable, CaseIterable, Sendable {
    case accuracy
    /// The lower the better.
    case loss
    case macroRecall = "macro-recall"
    case auroc

    /// Of a result; nil where it has none that is a number.
    package func value(of result: TestResult) -> Double? {
        switch self {
        case .accuracy: result.accuracy.ifFinite
        case .loss: result.loss.ifFinite
        case .macroRecall: result.measures.macroRecall?.ifFinite
        case .auroc: result.measures.auroc?.ifFinite
        }
    }

    /// Whether a value is better than the best so far. Equal ones are not.
    package func isBetter(_ value: Double?, than best: Double?) -> Bool {
        guard let value else { return false }
        guard let best else { return true }
        return self == .loss ? value < best : value > best
    }

    /// As messages call it.
    package var words: String {
        switch self {
        case .accuracy: "test accuracy"
        case .loss: "test loss"
        case .macroRecall: "macro recall"
        case .auroc: "AUROC"
        }
    }
}
