import DenseNetModel
import Support

/// What of a network learns, and how fast, where a run goes on from weights that it is given.
public struct FineTuning: Codable, Sendable, Equatable {
    /// The parts whose parameters do not move; nil for none.
    public var freeze: [NetworkPart]?
    /// Whether these parts work as in evaluation: see `TrainableDenseNet.freeze`.
    public var freezeNorm: Bool
    /// The highest learning rates of parts that have one of their own; nil for none.
    public var learningRateOf: PartRates?
    /// Whether given weights have to have a classifier for the run's classes. Otherwise one for others begins anew.
    public var initStrict: Bool

    /// All parts learn at the run's rate where no argument says otherwise.
    public init(
        freeze: [NetworkPart]? = nil, freezeNorm: Bool = false, learningRateOf: PartRates? = nil,
        initStrict: Bool = false
    ) {
        self.freeze = freeze
        self.freezeNorm = freezeNorm
        self.learningRateOf = learningRateOf
        self.initStrict = initStrict
    }

    /// Refuses what a network cannot do.
    ///
    /// - Throws: `Failure(.usage)` naming the parameter and the part.
    func validate(_ network: DenseNetConfiguration) throws {
        let frozen = freeze ?? []
        _ = try FrozenParts(frozen, areEvaluated: freezeNorm, of: network)
        var named: [NetworkPart] = []
        for (part, rate) in learningRateOf?.rates ?? [] {
            try network.requirePart(part, of: "learningRateOf")
            guard rate > 0, rate.isFinite else {
                throw Failure(.usage, "`learningRateOf` \(part.rawValue) is \(rate), expected a number above 0")
            }
            if let other = named.first(where: { $0.overlaps(part) }) {
                throw Failure(
                    .usage,
                    "`learningRateOf` has two rates for \(part.rawValue), that of \(other.rawValue) too; leave one out")
            }
            if let other = frozen.first(where: { $0.overlaps(part) }) {
                throw Failure(
                    .usage,
                    "`learningRateOf` names \(part.rawValue), but `freeze` \(other.rawValue) keeps that from moving; leave "
                        + "one of the two out")
            }
            named.append(part)
        }
    }
}

/// Learning rates of parts of a network.
public struct PartRates: Sendable {
    /// In the order of the parts.
    public let rates: [(part: NetworkPart, rate: Double)]

    /// - Parameter rates: at least one, in any order.
    public init(_ rates: [(part: NetworkPart, rate: Double)]) {
        self.rates = rates.sorted { $0.part < $1.part }
    }
}

extension PartRates: Equatable {
    /// Whether both have the same parts with the same rates.
    public static func == (one: PartRates, other: PartRates) -> Bool {
        one.rates.elementsEqual(other.rates) { $0 == $1 }
    }
}

/// As text: each part with its rate, such as `block4=0.001,classifier=0.01`.
extension PartRates: LosslessStringConvertible {
    /// What `init(_:)` reads, for messages.
    package static let grammar = "parts with their rates, separated by commas, as block4=0.001,classifier=0.01"

    /// Parses `description`; nil for text that is something else.
    public init?(_ description: String) {
        var rates: [(part: NetworkPart, rate: Double)] = []
        for word in description.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = word.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
            guard halves.count == 2, let part = NetworkPart(rawValue: halves[0]), let rate = Double(halves[1]) else {
                return nil
            }
            rates.append((part, rate))
        }
        self.init(rates)
    }

    /// Such as `block4=0.001,classifier=0.01`.
    public var description: String { rates.map { "\($0.part.rawValue)=\($0.rate)" }.joined(separator: ",") }
}

/// Stored as text.
extension PartRates: Codable {
    /// Decodes `description`.
    public init(from decoder: any Decoder) throws {
        self = try decodeText(of: "learning rates", expecting: Self.grammar, from: decoder)
    }

    /// Encodes `description`.
    public func encode(to encoder: any Encoder) throws {
        try encodeText(of: self, to: encoder)
    }
}
