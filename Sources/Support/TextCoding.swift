/// Decodes a value that is stored as its text.
///
/// - Parameters:
///   - what: what the text is, for messages.
///   - grammar: what is expected.
/// - Throws: `Failure(.data)` for other text.
package func decodeText<Value: LosslessStringConvertible>(
    of what: String, expecting grammar: String, from decoder: any Decoder
) throws -> Value {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let value = Value(text) else { throw Failure(.data, "\(what) '\(text)': expected \(grammar)") }
    return value
}

/// Encodes a value as its text.
package func encodeText(of value: some LosslessStringConvertible, to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value.description)
}
