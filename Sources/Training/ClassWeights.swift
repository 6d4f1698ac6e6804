import DataParallel
import ImageData
import Support

/// What each class counts for in the training loss: the `weight` of PyTorch's `cross_entropy`. Evaluations do without.
public struct ClassWeights: Sendable, Equatable {
    /// The file that has them; nil for those that balance the training set.
    public var path: String?
    /// Of each class of the network; nil until a run begins, which keeps them.
    package var values: [Double]?

    /// Weights that balance the training set: of n images in k classes a class with c images has n/(k·c), as scikit-learn's
    /// `compute_class_weight('balanced', …)` has it. A class without images has 0 and is not counted in k.
    public static let balanced = ClassWeights(path: nil)

    /// - Parameter path: of a file that has a line `class,weight` for each class; nil for weights that balance the
    ///   training set.
    public init(path: String?) { self.path = path }

    /// Weights out of this range are mistakes, and would not be numbers any more where they are multiplied.
    private static let range = 1e-12...1e12

    /// - Parameter classes: of the network.
    /// - Throws: `Failure(.usage)` for weights that are not what they should be.
    func validate(classes: Int) throws {
        guard let values else { return }
        guard values.count == classes, values.allSatisfy(Self.isWeight), values.contains(where: { $0 > 0 }) else {
            throw Failure(
                .usage,
                "`classWeights` are \(values.count) numbers, expected \(classes), one for each class, "
                    + "\(Self.expectation), one or more of them above 0")
        }
    }

    private static let expectation = "0, or \(range.lowerBound) to \(range.upperBound)"

    private static func isWeight(_ value: Double) -> Bool { value == 0 || range.contains(value) }
}

extension ClassWeights: CustomStringConvertible {
    /// As the option has it.
    public var description: String { path ?? "balanced" }
}

extension ClassWeights: Codable {
    private enum CodingKeys: String, CodingKey {
        case path, values
    }

    /// Reads what a run has kept. The values must be there: resuming a run opens no file that its folder names.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        path = try container.decodeIfPresent(String.self, forKey: .path)
        values = try container.decode([Double].self, forKey: .values)
    }
}

// MARK: - Values

extension ClassWeights {
    /// The same with values: those that it has, or of the file on rank zero, or from the training set, of which each rank
    /// counts a share. Collective.
    ///
    /// - Parameter classes: of the network.
    /// - Throws: on all ranks the failure of the first rank that has one.
    func resolved(for images: ImageSet, classes: Int, _ communicator: Communicator) throws -> ClassWeights {
        guard values == nil else { return self }
        communicator.progress.enter("weights of classes")
        var resolved = self
        if let path {
            let names = ClassNames(images.classNames ?? [])
            let weights = try communicator.throwOnAllRanks {
                communicator.rank == 0
                    ? try Self.read(path, names: names, classes: classes) : [Double](repeating: 0, count: classes)
            }
            resolved.values = try communicator.broadcast(weights, from: 0)
        } else {
            let counts = try communicator.throwOnAllRanks {
                try images.labelCounts(part: communicator.rank, of: communicator.size)
            }
            let sums = try communicator.allReduceSum(counts.map { Double($0) })
            resolved.values = Self.balanced(sums + [Double](repeating: 0, count: classes - sums.count))
        }
        return resolved
    }

    /// - Parameter counts: images of each class.
    static func balanced(_ counts: [Double]) -> [Double] {
        let (images, classes) = (counts.reduce(0, +), Double(counts.count { $0 > 0 }))
        return counts.map { $0 > 0 ? images / (classes * $0) : 0 }
    }

    /// Reads a file of lines `class,weight`, or with a tab in place of the comma. A class is a name or, where no class is
    /// called so, a number from 0. Empty lines are passed over, and so is a first line that is a heading.
    ///
    /// - Throws: `Failure(.noInput)` for a file that cannot be read, `Failure(.data)` naming the line that is wrong.
    static func read(_ path: String, names: ClassNames, classes: Int) throws -> [Double] {
        let text = String(decoding: try InputFile.contents(of: path, atMost: 1 << 24), as: UTF8.self)
        let labels = Dictionary(zip(names.names, 0...)) { first, _ in first }
        var weights = [(value: Double, line: Int)?](repeating: nil, count: classes)
        let lines = text.trimmingPrefix("\u{FEFF}").split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (number, line) in zip(1..., lines) where !line.allSatisfy(\.isWhitespace) {
            func failure(_ problem: String) -> Failure { Failure(.data, "\(path): line \(number) \(problem)") }
            guard let place = line.lastIndex(of: "\t") ?? line.lastIndex(of: ",") else {
                throw failure("is '\(line)', expected a class and its weight, such as \(names[0]),1.5")
            }
            let (name, word) = (unquoted(line[..<place]), unquoted(line[line.index(after: place)...]))
            let weight = Double(word)
            guard let label = labels[name] ?? Int(name), weights.indices.contains(label) else {
                if number == 1, weight == nil { continue }
                throw failure("has the class '\(name)', expected one of the \(classes) by name or by number from 0")
            }
            guard let weight, isWeight(weight) else {
                throw failure("has the weight '\(word)' of class '\(name)', expected a number: \(expectation)")
            }
            if let before = weights[label] {
                throw failure("has another weight of class '\(name)', which has one in line \(before.line)")
            }
            weights[label] = (weight, number)
        }
        if let label = weights.firstIndex(where: { $0 == nil }) {
            throw Failure(.data, "\(path): has no weight of class \(label) (\(names[label])); all \(classes) need one")
        }
        let values = weights.compactMap { $0?.value }
        guard values.contains(where: { $0 > 0 }) else {
            throw Failure(.data, "\(path): all weights are 0, expected one or more above")
        }
        return values
    }

    /// A field without the spaces around it, and without quotes as RFC 4180 has them.
    private static func unquoted(_ field: Substring) -> String {
        var field = field.trimmingPrefix(while: \.isWhitespace)
        while field.last?.isWhitespace == true { field.removeLast() }
        guard field.count >= 2, field.first == "\"", field.last == "\"" else { return String(field) }
        return String(field.dropFirst().dropLast().replacing("\"\"", with: "\""))
    }
}
