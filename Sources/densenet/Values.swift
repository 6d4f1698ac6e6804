import ArgumentParser
import DenseNetModel
import ImageData
import Kernels
import Training

// How the values of options are read.

extension Precision: ExpressibleByArgument {}
extension DenseNetConfiguration.Stem: ExpressibleByArgument {}
extension Evaluator.Views: ExpressibleByArgument {}
extension RunConfiguration.DataSource.BadImage: ExpressibleByArgument {}

/// A learning rate schedule by name.
enum ScheduleName: String, ExpressibleByArgument, CaseIterable {
    case step, cosine, linear, triangle
    case oneCycle = "one-cycle"
    case constant

    init(_ shape: LearningRateSchedule.Shape) {
        switch shape {
        case .constant: self = .constant
        case .step: self = .step
        case .cosine: self = .cosine
        case .linear: self = .linear
        case .triangle: self = .triangle
        case .oneCycle: self = .oneCycle
        }
    }

    /// The schedule of that name with the paper's milestones.
    var shape: LearningRateSchedule.Shape {
        switch self {
        case .constant: .constant
        case .step: LearningRateSchedule().shape
        case .cosine: .cosine
        case .linear: .linear
        case .triangle: .triangle
        case .oneCycle: .oneCycle
        }
    }
}

/// Reads numbers separated by commas.
///
/// - Parameter example: for the message where the text is something else.
func numberList<Number: LosslessStringConvertible>(_ text: String, like example: String) throws -> [Number] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
        guard let number = Number(String(word)) else {
            throw ValidationError("expected numbers separated by commas, as \(example)")
        }
        return number
    }
}

/// Reads the value of `--augment`.
func augmentation(_ text: String) throws -> Augmentation {
    guard let augmentation = Augmentation(text) else {
        throw ValidationError("expected \(Augmentation.grammar)")
    }
    return augmentation
}

/// Reads the value of `--image-schedule`.
func imageSizes(_ text: String) throws -> ImageSchedule {
    guard let schedule = ImageSchedule(text) else { throw ValidationError("expected \(ImageSchedule.grammar)") }
    return schedule
}

/// Reads the value of `--freeze`.
func networkParts(_ text: String) throws -> [NetworkPart] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
        guard let part = NetworkPart(rawValue: String(name)) else {
            throw ValidationError("expected parts separated by commas, as stem,block1,transition1")
        }
        return part
    }.sorted()
}

/// Reads the value of `--learning-rate-of`.
func partRates(_ text: String) throws -> PartRates {
    guard let rates = PartRates(text) else { throw ValidationError("expected \(PartRates.grammar)") }
    return rates
}

/// Reads the value of `--seed`.
func seedNumber(_ text: String) throws -> UInt64 {
    guard let seed = UInt64(text) else { throw ValidationError("expected a whole number from 0 to \(UInt64.max)") }
    return seed
}

/// Reads a number with its unit, such as `2us`.
///
/// - Parameters:
///   - units: what each unit stands for.
///   - what: what the value is, for the message where the text is something else.
func quantity(_ text: String, units: KeyValuePairs<String, Double>, _ what: String) throws -> Double {
    let number = text.prefix { $0.isNumber || ".eE+-".contains($0) }
    // An exponent needs digits; what begins with a letter is the unit.
    let unit = text.dropFirst(number.count)
    guard let factor = units.first(where: { $0.key == unit })?.value, let value = Double(number),
        value.isFinite, value >= 0
    else {
        throw ValidationError("expected \(what), in \(units.map(\.key).joined(separator: ", "))")
    }
    return value * factor
}

/// Reads a time in seconds.
func timeValue(_ text: String) throws -> Double {
    try quantity(text, units: ["ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1], "a time such as 2us")
}

/// Reads a rate in bytes per second; a bit is an eighth.
func rateValue(_ text: String) throws -> Double {
    let rate = try quantity(
        text,
        units: [
            "B/s": 1, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, "kbit/s": 125, "Mbit/s": 125e3, "Gbit/s": 125e6,
        ], "a rate such as 12GB/s")
    guard rate > 0 else { throw ValidationError("expected a rate above zero") }
    return rate
}
