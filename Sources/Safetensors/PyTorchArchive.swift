import Support

/// A zip archive written by `torch.save`: a pickle, and the uncompressed bytes of each storage.
struct PyTorchArchive {
    /// By name; ranges are byte offsets in the file.
    let tensors: [String: SafetensorsFile.TensorInfo]

    private static let largestPickle = 16 << 20
    private static let largestDirectory = 64 << 20

    /// Whether a file begins like a zip archive, rather than a safetensors file whose header has that length.
    static func isStart(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: [0x50, 0x4B, 3, 4]) && bytes[8] != UInt8(ascii: "{")
    }

    /// Reads the directory and the pickle. Executes nothing.
    ///
    /// - Throws: `Failure(.data)` if the file is not a valid state dictionary of tensors.
    init(_ file: InputFile) throws {
        let directory = try ZipDirectory(file, largest: Self.largestDirectory)
        let pickles = directory.members.keys.filter { $0.hasSuffix("/data.pkl") }
        guard let name = pickles.first, pickles.count == 1 else {
            throw Failure(
                .data, "\(file.path): is a zip archive without exactly one data.pkl; torch.save has not written it")
        }
        let folder = name.dropLast("data.pkl".count)
        if let order = directory.members["\(folder)byteorder"] {
            guard try directory.content(order, atMost: 16) == Array("little".utf8) else {
                throw Failure(.data, "\(file.path): its numbers are not little-endian; save them on another machine")
            }
        }
        guard let pickle = directory.members[name] else { throw Failure(.internal, "\(file.path): lost \(name)") }
        var reader = PyTorchPickle(
            try directory.content(pickle, atMost: Self.largestPickle), path: file.path,
            storage: { key in
                guard let member = directory.members["\(folder)data/\(key)"] else { return nil }
                return try directory.range(member)
            })
        tensors = try reader.read()
    }
}

/// The directory at the end of a zip archive of less than 4 GiB.
private struct ZipDirectory {
    struct Member {
        fileprivate let method: Int
        fileprivate let flags: Int
        fileprivate let storedSize: Int
        fileprivate let size: Int
        fileprivate let header: Int
    }

    let members: [String: Member]
    private let file: InputFile

    init(_ file: InputFile, largest: Int) throws {
        self.file = file
        let path = file.path
        func broken(_ problem: String) -> Failure {
            Failure(.data, "\(path): is a zip archive \(problem); it is truncated, damaged, or of 4 GiB or more")
        }
        guard file.size >= 22 else { throw broken("of \(file.size) bytes") }
        let end = try Self.bytes(file, file.size - 22, 22)
        guard Self.number(end, 0, 4) == 0x0605_4B50 else { throw broken("without a directory at its end") }
        let (size, start) = (Self.number(end, 12, 4), Self.number(end, 16, 4))
        guard size <= largest, start + size <= file.size - 22 else {
            throw broken("whose directory has \(size) bytes at \(start)")
        }
        let bytes = try Self.bytes(file, start, size)
        var members: [String: Member] = [:]
        var place = 0
        for _ in 0..<Self.number(end, 10, 2) {
            guard place + 46 <= size, Self.number(bytes, place, 4) == 0x0201_4B50 else {
                throw broken("with a damaged directory")
            }
            let nameEnd = place + 46 + Self.number(bytes, place + 28, 2)
            let next = nameEnd + Self.number(bytes, place + 30, 2) + Self.number(bytes, place + 32, 2)
            guard next <= size, let name = String(validating: bytes[place + 46..<nameEnd], as: UTF8.self) else {
                throw broken("with a damaged directory")
            }
            let member = Member(
                method: Self.number(bytes, place + 10, 2), flags: Self.number(bytes, place + 8, 2),
                storedSize: Self.number(bytes, place + 20, 4), size: Self.number(bytes, place + 24, 4),
                header: Self.number(bytes, place + 42, 4))
            guard members.updateValue(member, forKey: name) == nil else {
                throw broken("with two members \(quoted(name))")
            }
            place = next
        }
        self.members = members
    }

    /// The byte range of a member's contents in the file.
    func range(_ member: Member) throws -> Range<Int> {
        guard member.method == 0, member.flags & 1 == 0, member.storedSize == member.size else {
            throw Failure(
                .data,
                "\(file.path): a member is compressed or encrypted, expected stored ones as torch.save writes them")
        }
        guard member.header + 30 <= file.size else { throw outside() }
        let header = try Self.bytes(file, member.header, 30)
        let start = member.header + 30 + Self.number(header, 26, 2) + Self.number(header, 28, 2)
        guard Self.number(header, 0, 4) == 0x0403_4B50, start + member.size <= file.size else { throw outside() }
        return start..<start + member.size
    }

    func content(_ member: Member, atMost limit: Int) throws -> [UInt8] {
        let range = try range(member)
        guard range.count <= limit else {
            throw Failure(.data, "\(file.path): a member has \(range.count) bytes, expected at most \(limit)")
        }
        return try Self.bytes(file, range.lowerBound, range.count)
    }

    private func outside() -> Failure {
        Failure(.data, "\(file.path): a member is outside of the zip archive; the file is truncated or damaged")
    }

    private static func bytes(_ file: InputFile, _ start: Int, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try unsafe bytes.withUnsafeMutableBytes { try unsafe file.read(into: $0, at: start) }
        return bytes
    }

    private static func number(_ bytes: [UInt8], _ place: Int, _ count: Int) -> Int {
        (0..<count).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
    }
}
