import Safetensors
import Support

/// Writes zip archives whose members are stored uncompressed.
enum ZipArchive {
    /// A file of the archive: `head`, then the elements of `tensor`.
    struct Member {
        let name: String
        let head: [UInt8]
        let tensor: NamedTensor?

        init(_ name: String, _ head: [UInt8], tensor: NamedTensor? = nil) {
            self.name = name
            self.head = head
            self.tensor = tensor
        }

        var size: Int { head.count + (tensor?.byteCount ?? 0) }

        var checksum: UInt32 {
            var checksum = CRC32()
            head.withUnsafeBytes { checksum.add($0) }
            tensor?.withUnsafeBytes { checksum.add($0) }
            return checksum.value
        }
    }

    /// Each member's content begins at a multiple of so many bytes, as PyTorch wants it to map files.
    private static let alignment = 64

    /// Writes an archive atomically.
    ///
    /// - Throws: `Failure(.usage)` where it would need 4 GiB or more, which takes another kind of archive;
    ///   `Failure(.unavailable)` when the system refuses.
    static func write(_ members: [Member], to path: String) throws {
        var directory: [UInt8] = []
        var headers: [[UInt8]] = []
        var offset = 0
        for member in members {
            let (header, entry) = headerAndEntry(of: member, at: offset)
            headers.append(header)
            directory += entry
            offset += header.count + member.size
        }
        guard offset + directory.count < Int(UInt32.max), members.count < Int(UInt16.max) else {
            throw Failure(
                .usage,
                "\(path): would have \(offset) bytes in \(members.count) members, and a zip archive holds 4 GiB in 65,534; "
                    + "use the safetensors file")
        }
        let end =
            littleEndian(0x0605_4B50, 4) + littleEndian(0, 4) + littleEndian(members.count, 2)
            + littleEndian(members.count, 2) + littleEndian(directory.count, 4) + littleEndian(offset, 4)
            + littleEndian(0, 2)
        try AtomicFile.write(path) { output in
            for (header, member) in zip(headers, members) {
                try header.withUnsafeBytes { try output.write($0) }
                try member.head.withUnsafeBytes { try output.write($0) }
                try member.tensor?.withUnsafeBytes { try output.write($0) }
            }
            try (directory + end).withUnsafeBytes { try output.write($0) }
        }
    }

    /// A member's local header and its entry in the directory.
    private static func headerAndEntry(of member: Member, at offset: Int) -> (header: [UInt8], entry: [UInt8]) {
        let name = Array(member.name.utf8)
        // Version 2.0, no flags, stored, the earliest date that the format has (1 January 1980).
        let common =
            littleEndian(20, 2) + littleEndian(0, 2) + littleEndian(0, 2) + littleEndian(0, 2)
            + littleEndian(1 << 5 | 1, 2) + littleEndian(Int(member.checksum), 4) + littleEndian(member.size, 4)
            + littleEndian(member.size, 4) + littleEndian(name.count, 2)
        // An extra field of PyTorch's kind fills the space up to the content.
        let end = offset + 30 + name.count + 4
        let padding = (alignment - end % alignment) % alignment
        let extra = littleEndian(0x4246, 2) + littleEndian(padding, 2) + [UInt8](repeating: 0x5A, count: padding)
        let header = littleEndian(0x0403_4B50, 4) + common + littleEndian(extra.count, 2) + name + extra
        let entry =
            littleEndian(0x0201_4B50, 4) + littleEndian(20, 2) + common + [UInt8](repeating: 0, count: 12)
            + littleEndian(offset, 4) + name
        return (header, entry)
    }

    private static func littleEndian(_ value: Int, _ bytes: Int) -> [UInt8] {
        (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
}
