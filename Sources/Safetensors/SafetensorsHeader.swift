import Support

/// The JSON header of a safetensors file, parsed strictly: only what the format allows, and no duplicates.
///
/// The format has no nesting, so there is no recursion that a hostile file could exhaust. Duplicate names, which
/// general JSON parsers accept silently, are errors.
struct SafetensorsHeader {
    struct Entry {
        var name: String
        var dtype: SafetensorsFile.DataType
        var shape: [Int]
        /// Byte offsets from the start of the data; not negative, otherwise not yet validated.
        var start: Int, end: Int
    }

    /// In the header's order.
    private(set) var entries: [Entry] = []
    private(set) var metadata: [String: String] = [:]

    private let bytes: [UInt8]
    let path: String
    private var position = 0

    /// Parses the header.
    ///
    /// - Parameter path: the file's, for messages.
    /// - Throws: `Failure(.data)` naming file, position or tensor, the value found and what was expected.
    init(_ bytes: [UInt8], path: String) throws {
        self.bytes = bytes
        self.path = path
        guard bytes.first == UInt8(ascii: "{") else { throw malformed("does not begin with {") }
        try object("the header") { header, name in
            if name == "__metadata__" {
                try header.object("__metadata__") { $0.metadata[$1] = try $0.string() }
            } else {
                header.entries.append(try header.entry(name))
            }
        }
        skipSpace()
        guard position == bytes.count else { throw malformed("continues after its closing }") }
    }

    private mutating func entry(_ name: String) throws -> Entry {
        var dtype: SafetensorsFile.DataType?
        var shape: [Int]?
        var offsets: [Int]?
        let tensor = "tensor \(quoted(name))"
        try object(tensor) { header, key in
            switch key {
            case "dtype":
                let word = try header.string()
                dtype = SafetensorsFile.DataType(rawValue: word)
                guard dtype != nil else {
                    throw Failure(
                        .data, "\(header.path): \(tensor) has the unknown dtype \(quoted(word)), expected one like F32")
                }
            case "shape": shape = try header.integers("\(tensor) has a shape")
            case "data_offsets": offsets = try header.integers("\(tensor) has data_offsets")
            default: throw header.malformed("has the unknown key \(quoted(key)) in \(tensor)")
            }
        }
        guard let dtype, let shape, let offsets else {
            let missing = dtype == nil ? "dtype" : shape == nil ? "shape" : "data_offsets"
            throw Failure(.data, "\(path): \(tensor) has no \(missing) in the header")
        }
        guard offsets.count == 2 else {
            throw Failure(.data, "\(path): \(tensor) has \(offsets.count) data_offsets, expected 2")
        }
        return Entry(name: name, dtype: dtype, shape: shape, start: offsets[0], end: offsets[1])
    }

    // MARK: - JSON

    /// Parses `{"key": value, …}`; `member` parses each value.
    private mutating func object(_ what: String, _ member: (inout Self, String) throws -> Void) throws {
        var seen: Set<String> = []
        try expect("{")
        if accept("}") { return }
        repeat {
            let key = try string()
            guard seen.insert(key).inserted else { throw Failure(.data, "\(path): \(what) has \(quoted(key)) twice") }
            try expect(":")
            try member(&self, key)
        } while accept(",")
        try expect("}")
    }

    /// Parses `[1, 2, …]`, integers from 0 on. An error message begins with `what`.
    private mutating func integers(_ what: String) throws -> [Int] {
        var result: [Int] = []
        try expect("[")
        if accept("]") { return result }
        repeat {
            skipSpace()
            let start = position
            while position < bytes.count, isNumeric(bytes[position]) { position += 1 }
            let text = String(decoding: bytes[start..<position], as: UTF8.self)
            // `Int` rejects overflow, but accepts a plus sign and leading zeros, which JSON does not.
            guard let value = Int(text), value >= 0, String(value) == text else {
                throw Failure(
                    .data, "\(path): \(what) with \(quoted(text)), expected whole numbers from 0 to \(Int.max)")
            }
            result.append(value)
        } while accept(",")
        try expect("]")
        return result
    }

    private func isNumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
            UInt8(ascii: "e"),
            UInt8(ascii: "E"):
            true
        default: false
        }
    }

    private mutating func string() throws -> String {
        try expect("\"")
        var text: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let result = String(validating: text, as: UTF8.self) else {
                    throw malformed("has a string that is not UTF-8")
                }
                return result
            case UInt8(ascii: "\\"): text.append(contentsOf: String(try escape()).utf8)
            case 0..<0x20: throw malformed("has a control character in a string")
            default: text.append(byte)
            }
        }
        throw malformed("ends within a string")
    }

    /// Parses the rest of an escape sequence after the backslash.
    private mutating func escape() throws -> Unicode.Scalar {
        guard position < bytes.count else { throw malformed("ends within a string") }
        position += 1
        switch bytes[position - 1] {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let high = try hexadecimal()
            if let scalar = Unicode.Scalar(high) { return scalar }
            // Characters beyond U+FFFF are surrogate pairs, such as \uD83D\uDE00.
            guard high < 0xDC00, bytes[position...].starts(with: #"\u"#.utf8) else {
                throw malformed("has an unpaired surrogate")
            }
            position += 2
            let low = try hexadecimal()
            guard (0xDC00..<0xE000).contains(low),
                let scalar = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
            else { throw malformed("has an unpaired surrogate") }
            return scalar
        default: throw malformed("has an unknown escape in a string")
        }
    }

    private mutating func hexadecimal() throws -> UInt32 {
        var value: UInt32 = 0
        for byte in bytes[position...].prefix(4) {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw malformed("has an unknown escape in a string")
            }
            value = value << 4 | UInt32(digit)
        }
        guard position + 4 <= bytes.count else { throw malformed("ends within a string") }
        position += 4
        return value
    }

    private mutating func skipSpace() {
        while position < bytes.count, isSpace(bytes[position]) { position += 1 }
    }

    private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D }

    private mutating func accept(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar) throws {
        guard accept(character) else {
            let found = position < bytes.count ? quoted(String(Unicode.Scalar(bytes[position]))) : "its end"
            throw malformed("has \(found), expected '\(character)',")
        }
    }

    private func malformed(_ problem: String) -> Failure {
        Failure(.data, "\(path): the safetensors header \(problem) at byte \(position)")
    }
}

/// Prepares a name from a file for a message: in quotes, on one line, shortened if long.
func quoted(_ name: String) -> String {
    let scalars = name.unicodeScalars
    let shown = scalars.prefix(100).map { scalar in
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: "\u{FFFD}"
        default: String(scalar)
        }
    }
    return "'" + shown.joined() + (scalars.count > 100 ? "…'" : "'")
}
