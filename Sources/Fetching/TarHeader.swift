import Support

/// The header of a member of a tar archive: a block of 512 bytes, as ustar, GNU tar and the first tar have it.
struct TarHeader: Equatable {
    let name: String
    let kind: Kind
    /// Bytes that follow the header.
    let size: Int

    enum Kind: Equatable {
        case file, folder
        /// Attributes of the member that follows, or of all (pax).
        case attributes
        /// In words: a link, a device and the like.
        case other(String)
    }

    static let blockSize = 512

    /// - Parameters:
    ///   - block: `blockSize` bytes.
    ///   - place: the beginning of a message.
    /// - Throws: `Failure(.data)` if the checksum is wrong or a field is not what it should be.
    init(_ block: [UInt8], _ place: String) throws {
        guard let sum = Self.number(block[Self.checksum]), sum == Self.sum(of: block) else {
            throw Failure(.data, "\(place) has a wrong checksum; fetch it again")
        }
        // Sizes from 8 GiB on have another form.
        guard let size = Self.number(block[124..<136]) else {
            throw Failure(.data, "\(place) has no size below 8 GiB; it is a different archive")
        }
        // After other magic words the last fields have other meanings.
        let isUstar = block[257..<263].elementsEqual("ustar\0".utf8)
        let prefix = isUstar ? block[345..<500].prefix { $0 != 0 } : []
        let bytes = (prefix.isEmpty ? [] : prefix + "/".utf8) + block[..<100].prefix { $0 != 0 }
        guard let name = String(validating: bytes, as: UTF8.self), !name.isEmpty,
            !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else {
            throw Failure(.data, "\(place) has a name that is empty or no text; it is a different archive")
        }
        self.name = name
        self.size = size
        kind = Self.kind(block[156], name)
    }

    private static let checksum = 148..<156

    /// Of all bytes, those of the checksum taken as spaces.
    private static func sum(of block: [UInt8]) -> Int {
        block.indices.reduce(0) { $0 + (checksum.contains($1) ? 0x20 : Int(block[$1])) }
    }

    /// A number in octal digits, with spaces before it, and a zero or space behind it where it does not fill the field.
    private static func number(_ field: ArraySlice<UInt8>) -> Int? {
        let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0 && $0 != 0x20 }
        return Int(String(decoding: digits, as: UTF8.self), radix: 8).flatMap { $0 >= 0 ? $0 : nil }
    }

    private static func kind(_ type: UInt8, _ name: String) -> Kind {
        switch type {
        case UInt8(ascii: "0"), 0: name.hasSuffix("/") ? .folder : .file
        case UInt8(ascii: "5"): .folder
        case UInt8(ascii: "x"), UInt8(ascii: "g"): .attributes
        case UInt8(ascii: "1"): .other("a hard link")
        case UInt8(ascii: "2"): .other("a symbolic link")
        case UInt8(ascii: "3"), UInt8(ascii: "4"): .other("a device")
        case UInt8(ascii: "6"): .other("a named pipe")
        default: .other("of type \(type)")
        }
    }
}
