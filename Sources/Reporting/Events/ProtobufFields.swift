/// The fields of a protocol buffer message, one after another as they stand in its bytes.
struct ProtobufFields: Sequence, IteratorProtocol {
    enum Value {
        /// A variable-length integer, or the bits of a fixed number of four or eight bytes.
        case number(UInt64)
        /// A text, a message or packed numbers.
        case bytes(ArraySlice<UInt8>)
    }

    private var rest: ArraySlice<UInt8>
    /// Whether all fields so far were whole.
    private(set) var isSound = true

    init(_ message: ArraySlice<UInt8>) { rest = message }

    /// The next field; nil at the end, and where the message is damaged.
    mutating func next() -> (number: Int, value: Value)? {
        guard !rest.isEmpty else { return nil }
        guard let key = variable(), let value = value(kind: key & 7) else {
            (isSound, rest) = (false, [])
            return nil
        }
        return (Int(key >> 3), value)
    }

    private mutating func value(kind: UInt64) -> Value? {
        switch kind {
        case 0: variable().map(Value.number)
        case 1: fixed(8)
        case 2: variable().flatMap { Int(exactly: $0) }.flatMap { take($0) }.map(Value.bytes)
        case 5: fixed(4)
        default: nil
        }
    }

    private mutating func fixed(_ count: Int) -> Value? {
        take(count).map { .number($0.reversed().reduce(0) { $0 << 8 | UInt64($1) }) }
    }

    private mutating func variable() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard let byte = rest.popFirst() else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }

    private mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard count <= rest.count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }
}
