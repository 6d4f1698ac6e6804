import Support

/// A part of a network, by name: `stem`, `block1`, `transition1`, `block2` and so on, `norm` and `classifier`, in the
/// order of use; `features` is all but the classifier.
public enum NetworkPart: Sendable, Hashable {
    /// What comes before the first block.
    case stem
    /// A dense block, counted from 1.
    case block(Int)
    /// The transition after the block of that number.
    case transition(Int)
    /// The norm before the classifier.
    case norm
    /// The last, linear layer.
    case classifier
    /// All parts but the classifier.
    case features

    /// Whether it is another part, or has that as a part of its own.
    package func contains(_ other: NetworkPart) -> Bool {
        self == other || self == .features && other != .classifier
    }

    /// Whether a part belongs to both.
    package func overlaps(_ other: NetworkPart) -> Bool { contains(other) || other.contains(self) }
}

extension NetworkPart: RawRepresentable, Codable {
    /// The name, such as `transition1`.
    public var rawValue: String {
        switch self {
        case .stem: "stem"
        case .block(let number): "block\(number)"
        case .transition(let number): "transition\(number)"
        case .norm: "norm"
        case .classifier: "classifier"
        case .features: "features"
        }
    }

    /// Parses a name; nil for text that is none.
    public init?(rawValue name: String) {
        let number = name.drop { !$0.isASCII || !$0.isNumber }
        let known: [NetworkPart] = [.stem, .norm, .classifier, .features]
        let parts = known + (Int(number).map { [.block($0), .transition($0)] } ?? [])
        // Without `block01`, which would be another name of a part.
        guard let part = parts.first(where: { $0.rawValue == name }) else { return nil }
        self = part
    }
}

extension NetworkPart: Comparable {
    /// `features`, then the order of use.
    public static func < (one: NetworkPart, other: NetworkPart) -> Bool { one.place < other.place }

    private var place: Int {
        switch self {
        case .features: -1
        case .stem: 0
        case .block(let number): 2 * min(number, 1 << 32) - 1
        case .transition(let number): 2 * min(number, 1 << 32)
        case .norm: .max - 1
        case .classifier: .max
        }
    }
}

extension DenseNetConfiguration {
    /// The network's parts, in the order of use: the stem, each block with the norm after it, which is a transition's or
    /// the last, and the classifier.
    package var networkParts: [NetworkPart] {
        let count = blocks.count
        let middle = (1...count).flatMap { b in [NetworkPart.block(b), b < count ? .transition(b) : .norm] }
        return [.stem] + middle + [.classifier]
    }

    /// Refuses a part that the network does not have.
    ///
    /// - Parameter parameter: what names the part, for the message.
    /// - Throws: `Failure(.usage)`.
    package func requirePart(_ part: NetworkPart, of parameter: String) throws {
        guard networkParts.contains(where: part.contains) else {
            let names = networkParts.map(\.rawValue).joined(separator: ", ")
            throw Failure(
                .usage,
                "`\(parameter)` names \(part.rawValue), but the network's parts are \(names); features is all but the "
                    + "classifier")
        }
    }
}

extension ParameterTable {
    /// Where a part's parameters lie, one after the other, in the flat buffers.
    package func range(of part: NetworkPart) -> Range<Int> {
        let afterClassifier = classifierWeight.range.upperBound
        switch part {
        case .stem: return blocks[0][0].end..<parameterCount
        case .block(let number):
            let next = number < blocks.count ? transitions[number - 1].end : finalNorm.weight.range.upperBound
            return next..<blocks[number - 1][0].end
        case .transition(let number): return blocks[number][0].end..<transitions[number - 1].end
        case .norm: return afterClassifier..<finalNorm.weight.range.upperBound
        case .classifier: return 0..<afterClassifier
        case .features: return afterClassifier..<parameterCount
        }
    }

    /// How many of the running statistics belong to the parts before one.
    func statistics(before part: NetworkPart) -> Int {
        switch part {
        case .stem, .features: 0
        case .block(let number): blocks[number - 1][0].norm.runningMean.offset
        case .transition(let number): transitions[number - 1].norm.runningMean.offset
        case .norm: finalNorm.runningMean.offset
        case .classifier: runningStatisticsCount
        }
    }
}
