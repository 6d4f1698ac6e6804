import Support

/// The parts of a network whose parameters do not move in training, and what a step leaves out for that.
///
/// Backward ends with the first part that learns: what lies before it has no gradients. Its norms take batch statistics
/// and move their running statistics all the same, as those of PyTorch in training mode do whose `requires_grad` is
/// false; or, with `areEvaluated`, it works as in evaluation: by running statistics, which stay, and without dropout.
package struct FrozenParts: Sendable, Equatable {
    /// In the order of use.
    private let frozen: [NetworkPart]
    /// Whether the frozen parts work as in evaluation; then they are all that lies before the first part that learns.
    private let areEvaluated: Bool
    /// The index of the first part that learns in `DenseNetConfiguration.networkParts`.
    private let firstLearning: Int
    /// The first part that learns.
    let first: NetworkPart

    /// - Parameters:
    ///   - named: the parts that do not move; may be empty.
    ///   - areEvaluated: whether they work as in evaluation.
    /// - Throws: `Failure(.usage)` for a part that the network does not have, where nothing would learn, and where parts
    ///   that are to work as in evaluation come after one that learns, whose gradient would have to pass through them.
    package init(_ named: [NetworkPart], areEvaluated: Bool, of configuration: DenseNetConfiguration) throws {
        for part in named { try configuration.requirePart(part, of: "freeze") }
        let parts = configuration.networkParts
        let frozen = parts.filter { part in named.contains { $0.contains(part) } }
        guard let first = parts.firstIndex(where: { !frozen.contains($0) }) else {
            throw Failure(
                .usage, "`freeze` names all parts of the network, so that nothing learns; leave the classifier out")
        }
        guard !areEvaluated || !frozen.isEmpty else {
            throw Failure(
                .usage, "`freezeNorm` is about the norms of frozen parts; name these by `freeze`, or leave it out")
        }
        guard !areEvaluated || frozen.count == first else {
            let behind = parts[first...].first(where: frozen.contains)!
            throw Failure(
                .usage,
                "`freezeNorm` wants the frozen parts to come before all that learns, but \(parts[first].rawValue) learns and "
                    + "\(behind.rawValue) is frozen; `freeze` \(parts[first].rawValue) too, or leave one of the two out"
            )
        }
        self.init(frozen, areEvaluated: areEvaluated, firstLearning: first, first: parts[first])
    }

    private init(_ frozen: [NetworkPart], areEvaluated: Bool, firstLearning: Int, first: NetworkPart) {
        self.frozen = frozen
        self.areEvaluated = areEvaluated
        self.firstLearning = firstLearning
        self.first = first
    }

    /// All parts learn.
    static let none = FrozenParts([], areEvaluated: false, firstLearning: 0, first: .stem)

    /// Whether a parameter, or all of a run of parameters, belongs to a frozen part.
    package func contain(_ range: Range<Int>, of table: ParameterTable) -> Bool {
        frozen.contains { table.range(of: $0).contains(range) }
    }

    /// Whether a part has gradients, for its own parameters or for what lies before it.
    ///
    /// - Parameter part: its index in `DenseNetConfiguration.networkParts`.
    func hasGradients(_ part: Int) -> Bool { part >= firstLearning }

    /// The end of the gradients that backward computes, in the flat buffer.
    func gradientEnd(_ table: ParameterTable) -> Int { table.range(of: first).upperBound }

    /// How many of the running statistics stay as they are: the first ones.
    func fixedStatistics(_ table: ParameterTable) -> Int { areEvaluated ? table.statistics(before: first) : 0 }

    /// A pass as one part sees it.
    ///
    /// - Parameter part: its index in `DenseNetConfiguration.networkParts`.
    func pass(_ pass: PassContext, of part: Int) -> PassContext {
        guard pass.training, areEvaluated, !hasGradients(part) else { return pass }
        // Stem and transitions have even indices and write to the block that follows, whose channels the norm after it
        // reads last.
        let lastReader = part + (part.isMultiple(of: 2) ? 2 : 1)
        return pass.evaluating(summingFeatures: hasGradients(lastReader))
    }
}
