import ArgumentParser
import DenseNetModel
import ImageData
import Kernels
import Training

// How the values of options are read.

extension Precision: ExpressibleByArgument {}
extension DenseNetConfiguration.Stem: ExpressibleByArgument {}

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

/// Reads the value of `--seed`.
func seedNumber(_ text: String) throws -> UInt64 {
    guard let seed = UInt64(text) else { throw ValidationError("expected a whole number from 0 to \(UInt64.max)") }
    return seed
}
