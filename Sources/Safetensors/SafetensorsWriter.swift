import Support

/// A named tensor that borrows its elements: whoever makes one keeps them alive and unchanged while it is used.
package struct NamedTensor {
    package let name: String
    /// Empty for a single number.
    package let shape: [Int]
    /// As many as `shape` has, the last dimension running fastest.
    package let values: UnsafeBufferPointer<Float>

    package init(name: String, shape: [Int], values: UnsafeBufferPointer<Float>) {
        precondition(shape.reduce(1, *) == values.count, "\(name) of shape \(shape) has \(values.count) elements")
        self.name = name
        self.shape = shape
        self.values = values
    }
}

/// Writes safetensors files of F32 tensors; equal content gives equal bytes.
package enum SafetensorsWriter {
    /// Writes a file atomically: the tensors in the given order, metadata sorted by key, the data aligned to eight
    /// bytes.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; nothing is left behind then, and an older file
    ///   stays as it was.
    /// - Precondition: no two tensors have one name.
    package static func write(to path: String, tensors: [NamedTensor], metadata: [String: String] = [:]) throws {
        precondition(Set(tensors.map(\.name)).count == tensors.count, "two tensors of one name for \(path)")
        var header = Array(headerText(tensors, metadata).utf8)
        header += repeatElement(UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
        precondition(header.count <= SafetensorsFile.largestHeader, "a header of \(header.count) bytes for \(path)")
        try AtomicFile.write(path) { output in
            try withUnsafeBytes(of: UInt64(header.count).littleEndian) { try output.write($0) }
            try header.withUnsafeBytes { try output.write($0) }
            for tensor in tensors { try output.write(UnsafeRawBufferPointer(tensor.values)) }
        }
    }

    private static func headerText(_ tensors: [NamedTensor], _ metadata: [String: String]) -> String {
        var members: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key < $1.key }.map { "\(literal($0.key)):\(literal($0.value))" }
            members.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
        }
        var offset = 0
        for tensor in tensors {
            let end = offset + tensor.values.count * 4
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            members.append(
                "\(literal(tensor.name)):{\"dtype\":\"F32\",\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}")
            offset = end
        }
        return "{\(members.joined(separator: ","))}"
    }

    /// A JSON string literal.
    private static func literal(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case "\u{0}"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
