import Support

// How reports and model cards write values.

/// With two decimals; a dash for no number.
func percent(_ share: Double?) -> String {
    guard let share, share.isFinite else { return "–" }
    return (100 * share).formatted(places: 2) + " %"
}

/// With some decimals; a dash for no number.
func plain(_ value: Double?, _ places: Int) -> String {
    guard let value, value.isFinite else { return "–" }
    return abs(value) < 1e7 ? value.formatted(places: places) : value.scientific
}

/// As 1:02:03.
func duration(_ seconds: Double) -> String {
    let whole = seconds > 0 ? Int(min(seconds, 1e11).rounded()) : 0
    return "\(whole / 3600):"
        + [whole / 60 % 60, whole % 60].map { "\($0)".paddedWithZeros(to: 2) }.joined(separator: ":")
}

/// The words of a parameter's name: `learning rate` for `` `learningRate` ``.
func words(_ name: String) -> String {
    let name = name.filter { $0 != "`" }
    // As the options call them.
    if let option = ["path": "data", "shape": "schedule", "averageDecay": "ema", "finalViews": "tta"][name] {
        return option
    }
    return name.map { $0.isUppercase ? " " + $0.lowercased() : String($0) }.joined()
}

/// A command as a shell reads it.
func shellLine(_ words: [String]) -> String {
    words.map { word in
        word.wholeMatch(of: /[A-Za-z0-9_.,:=\/@%+-]+/) != nil ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }.joined(separator: " ")
}
