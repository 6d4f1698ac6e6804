import Support
import Testing

/// The members of an archive of stored files, by way of its directory.
struct StoredZip {
    let members: [(name: String, content: [UInt8])]

    init(_ bytes: [UInt8]) throws {
        func number(_ place: Int, _ count: Int) -> Int {
            (0..<count).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
        }
        let end = bytes.count - 22
        try #require(number(end, 4) == 0x0605_4B50)
        var entry = number(end + 16, 4)
        members = try (0..<number(end + 10, 2)).map { _ in
            try #require(number(entry, 4) == 0x0201_4B50 && number(entry + 10, 2) == 0)
            let (size, nameCount) = (number(entry + 20, 4), number(entry + 28, 2))
            let header = number(entry + 42, 4)
            // What both headers say of the content is the same.
            try #require(
                number(header, 4) == 0x0403_4B50 && bytes[header + 4..<header + 28] == bytes[entry + 6..<entry + 30])
            let start = header + 30 + nameCount + number(header + 28, 2)
            try #require(start.isMultiple(of: 64))
            let content = Array(bytes[start..<start + size])
            var checksum = CRC32()
            content.withUnsafeBytes { checksum.add($0) }
            try #require(Int(checksum.value) == number(entry + 16, 4))
            defer { entry += 46 + nameCount }
            return (String(decoding: bytes[entry + 46..<entry + 46 + nameCount], as: UTF8.self), content)
        }
    }
}

/// The fields of one protocol buffer message.
struct ProtobufFields {
    private var numbers: [Int: UInt64] = [:]
    private var contents: [Int: [[UInt8]]] = [:]

    init(_ bytes: [UInt8]) {
        var rest = bytes[...]
        func varint() -> UInt64 {
            var (value, shift) = (UInt64(0), UInt64(0))
            while let byte = rest.popFirst() {
                value |= UInt64(byte & 0x7F) << shift
                shift += 7
                if byte < 0x80 { break }
            }
            return value
        }
        while !rest.isEmpty {
            let tag = varint()
            switch tag & 7 {
            case 0: numbers[Int(tag >> 3)] = varint()
            case 2:
                let count = Int(varint())
                contents[Int(tag >> 3), default: []].append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
            default: rest = rest.dropFirst(4)
            }
        }
    }

    func number(_ field: Int) -> UInt64? { numbers[field] }
    func bytes(_ field: Int) -> [[UInt8]] { contents[field] ?? [] }
    func texts(_ field: Int) -> [String] { bytes(field).map { String(decoding: $0, as: UTF8.self) } }
}
