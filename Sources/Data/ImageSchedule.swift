import Support

/// The size of training images by epochs: small ones first, whose steps take less time, and at last the network's.
public struct ImageSchedule: Sendable, Equatable {
    /// Some epochs whose images have one size.
    public struct Phase: Sendable, Equatable {
        /// Height and width in pixels.
        public let size: Int
        /// How many epochs there are, 1 or more.
        public let epochs: Int
    }

    /// The epochs before those of the last size.
    public let phases: [Phase]
    /// Height and width in all further epochs.
    public let lastSize: Int

    /// Creates a schedule without checking that a network can take its sizes.
    package init(phases: [Phase], lastSize: Int) { (self.phases, self.lastSize) = (phases, lastSize) }

    /// Epochs before those of the last size.
    package var epochs: Int { phases.reduce(0) { $0 + $1.epochs } }

    /// The sizes in the order of their use.
    package var sizes: [Int] { phases.map(\.size) + [lastSize] }

    /// Height and width of the images of an epoch, counted from 1.
    package func size(epoch: Int) -> Int {
        var end = 0
        for phase in phases {
            end += phase.epochs
            if epoch <= end { return phase.size }
        }
        return lastSize
    }
}

/// As text: pixels and epochs of each phase and, without epochs, the pixels of the last, such as `16:3,24:2,32`.
extension ImageSchedule: LosslessStringConvertible {
    /// What `init(_:)` reads, for messages.
    package static let grammar =
        "pixels:epochs, separated by commas, and pixels without epochs at last, as 16:3,24:2,32"

    /// Parses `description`; nil for text that is something else, with a number that is not from 1 to a million.
    public init?(_ description: String) {
        func number(_ text: Substring) -> Int? { Int(text).flatMap { (1...1_000_000).contains($0) ? $0 : nil } }
        var words = description.split(separator: ",", omittingEmptySubsequences: false)
        guard let last = number(words.removeLast()) else { return nil }
        var phases: [Phase] = []
        for word in words {
            let parts = word.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, let size = number(parts[0]), let epochs = number(parts[1]) else { return nil }
            phases.append(Phase(size: size, epochs: epochs))
        }
        self.init(phases: phases, lastSize: last)
    }

    /// Such as `16:3,24:2,32`.
    public var description: String {
        (phases.map { "\($0.size):\($0.epochs)" } + ["\(lastSize)"]).joined(separator: ",")
    }
}

/// Stored as text.
extension ImageSchedule: Codable {
    /// Decodes `description`.
    public init(from decoder: any Decoder) throws {
        self = try decodeText(of: "image schedule", expecting: Self.grammar, from: decoder)
    }

    /// Encodes `description`.
    public func encode(to encoder: any Encoder) throws {
        try encodeText(of: self, to: encoder)
    }
}
