import FoundationEssentials

/// A value in one of TensorBoard's event files.
public struct EventValue: Equatable {
    public var tag: String
    public let step: Int
    /// Of a scalar.
    public var number: Float?
    /// Of a picture, as a PNG file.
    public var picture: [UInt8] = []
    /// What a plugin finds in the tag's description.
    public var plugin: [UInt8] = []

    public init(tag: String, step: Int, number: Float? = nil) {
        self.tag = tag
        self.step = step
        self.number = number
    }
}

/// The values of all event files in a folder, in the order of the files' names.
///
/// Checksums are left to other tests; whatever else is wrong ends the process.
public func eventValues(inFolder path: String) throws -> [EventValue] {
    try FileManager.default.contentsOfDirectory(atPath: path).sorted().flatMap { name in
        try eventValues(Array(Data(contentsOf: URL(filePath: "\(path)/\(name)"))))
    }
}

/// The values of an event file.
public func eventValues(_ file: [UInt8]) -> [EventValue] {
    var values: [EventValue] = []
    var rest = file[...]
    while !rest.isEmpty {
        let length = Int(littleEndian(rest.prefix(8)))
        values += eventValues(ofEvent: rest.dropFirst(12).prefix(length))
        rest = rest.dropFirst(12 + length + 4)
    }
    return values
}

private func eventValues(ofEvent bytes: ArraySlice<UInt8>) -> [EventValue] {
    let event = fields(bytes)
    let step = Int(Int64(bitPattern: event.first { $0.number == 2 }?.value ?? 0))
    return event.filter { $0.number == 5 }.flatMap { fields($0.bytes) }.map { value in
        var found = EventValue(tag: "", step: step)
        for (number, bits, bytes) in fields(value.bytes) {
            switch number {
            case 1: found.tag = String(decoding: bytes, as: UTF8.self)
            case 2: found.number = Float(bitPattern: UInt32(bits))
            case 4: found.picture = fields(bytes).first { $0.number == 4 }.map { Array($0.bytes) } ?? []
            case 9: found.plugin = fields(fields(bytes)[0].bytes).first { $0.number == 2 }.map { Array($0.bytes) } ?? []
            default: fatalError("field \(number) of a value")
            }
        }
        return found
    }
}

/// The fields of a protocol buffer message.
public func fields(_ message: ArraySlice<UInt8>) -> [(number: Int, value: UInt64, bytes: ArraySlice<UInt8>)] {
    var found: [(number: Int, value: UInt64, bytes: ArraySlice<UInt8>)] = []
    var rest = message
    func variable() -> UInt64 {
        let bytes = rest.prefix(rest.firstIndex { $0 < 0x80 }! - rest.startIndex + 1)
        rest = rest.dropFirst(bytes.count)
        return bytes.reversed().reduce(0) { $0 << 7 | UInt64($1 & 0x7F) }
    }
    func take(_ count: Int) -> ArraySlice<UInt8> {
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }
    while !rest.isEmpty {
        let key = variable()
        switch key & 7 {
        case 0: found.append((Int(key >> 3), variable(), []))
        case 2: found.append((Int(key >> 3), 0, take(Int(variable()))))
        default: found.append((Int(key >> 3), littleEndian(take(key & 7 == 1 ? 8 : 4)), []))
        }
    }
    return found
}

private func littleEndian(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) } }
