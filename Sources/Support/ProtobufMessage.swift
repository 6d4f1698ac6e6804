/// A protocol buffer message that is being written: fields in the order in which they are added.
package struct ProtobufMessage: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    package mutating func add(_ field: Int, _ value: Int) {
        append(UInt64(field) << 3)
        append(UInt64(bitPattern: Int64(value)))
    }

    package mutating func add(_ field: Int, _ value: Float) {
        append(UInt64(field) << 3 | 5)
        unsafe withUnsafeBytes(of: value.bitPattern.littleEndian) { unsafe bytes += $0 }
    }

    package mutating func add(_ field: Int, _ value: Double) {
        append(UInt64(field) << 3 | 1)
        unsafe withUnsafeBytes(of: value.bitPattern.littleEndian) { unsafe bytes += $0 }
    }

    package mutating func add(_ field: Int, _ text: String) { add(field, bytes: text.utf8) }

    package mutating func add(_ field: Int, _ message: ProtobufMessage) { add(field, bytes: message.bytes) }

    /// Adds a message that `fill` makes.
    package mutating func add(_ field: Int, _ fill: (inout ProtobufMessage) -> Void) {
        var message = ProtobufMessage()
        fill(&message)
        add(field, message)
    }

    package mutating func add(_ field: Int, bytes content: some Collection<UInt8>) {
        append(UInt64(field) << 3 | 2)
        append(UInt64(content.count))
        bytes += content
    }

    /// Appends a variable-length integer: seven bits per byte, the lowest first.
    private mutating func append(_ value: UInt64) {
        var rest = value
        while rest > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
