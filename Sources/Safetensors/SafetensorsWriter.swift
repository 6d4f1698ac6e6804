import Support

/// A named F32 tensor to write.
public struct NamedTensor {
    /// The tensor's key in the header.
    public let name: String
    /// Empty for a scalar.
    public let shape: [Int]
    private let values: Values

    @safe private enum Values {
        case own([Float])
        case borrowed(UnsafeBufferPointer<Float>)
    }

    /// - Parameters:
    ///   - name: the tensor's key in the header.
    ///   - shape: empty for a scalar.
    ///   - values: in row-major order.
    /// - Precondition: `values` has as many elements as `shape`.
    public init(name: String, shape: [Int], values: [Float]) {
        self.init(name, shape, count: values.count, .own(values))
    }

    /// A tensor that borrows its elements: the caller keeps them alive and unchanged while it is used.
    package init(name: String, shape: [Int], values: UnsafeBufferPointer<Float>) {
        unsafe self.init(name, shape, count: values.count, .borrowed(values))
    }

    private init(_ name: String, _ shape: [Int], count: Int, _ values: Values) {
        precondition(shape.reduce(1, *) == count, "\(name) of shape \(shape) has \(count) elements")
        self.name = name
        self.shape = shape
        self.values = values
    }

    package var byteCount: Int { shape.reduce(MemoryLayout<Float>.stride, *) }

    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        switch values {
        case .own(let values): try unsafe values.withUnsafeBytes(body)
        case .borrowed(let values): try unsafe body(UnsafeRawBufferPointer(values))
        }
    }
}

/// Writes safetensors files of F32 tensors; equal contents give equal bytes.
public enum SafetensorsWriter {
    /// Writes a file atomically, with the tensors in the given order, the metadata sorted by key and the data aligned
    /// to eight bytes.
    ///
    /// - Throws: `Failure(.unavailable)` if the system refuses; an existing file is then unchanged.
    /// - Precondition: the tensors' names are unique.
    public static func write(to path: String, tensors: [NamedTensor], metadata: [String: String] = [:]) throws {
        precondition(Set(tensors.map(\.name)).count == tensors.count, "duplicate tensor names for \(path)")
        var header = Array(headerText(tensors, metadata).utf8)
        header += repeatElement(UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
        precondition(
            header.count <= SafetensorsFile.maximumHeaderBytes, "a header of \(header.count) bytes for \(path)")
        try AtomicFile.write(path) { output in
            try unsafe withUnsafeBytes(of: UInt64(header.count).littleEndian) { try unsafe output.write($0) }
            try unsafe header.withUnsafeBytes { try unsafe output.write($0) }
            for tensor in tensors { try unsafe tensor.withUnsafeBytes { try unsafe output.write($0) } }
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
            let end = offset + tensor.byteCount
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
