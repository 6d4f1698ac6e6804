import Fetching
import ImageData
import Support

/// CIFAR-10's archive as `fetch` unpacks it: the compressed data, the headers in it, what they describe.
struct ArchiveTarget: Target {
    let kinds: Set<Failure.Kind> = [.data]
    private let path: String
    private let folder: String
    /// Uncompressed.
    private let original: [UInt8]
    /// Where headers begin.
    private let headers: [Int]

    init(_ folder: String) throws {
        path = folder + "/archive.tar.gz"
        self.folder = folder + "/unpacked"
        try FileSystem.makeFolder(self.folder)
        let top = CIFAR.cifar10.folder
        let members: [(name: String, type: Character, content: [UInt8])] = [
            (top + "/", "5", []), ("PaxHeader", "x", Array("21 mtime=1234567890.5\n".utf8)),
            (top + "/batches.meta.txt", "0", Array("airplane\nship\n".utf8)),
            (top + "/data_batch_1.bin", "0", [UInt8](repeating: 7, count: 600)), (top + "/other", "0", [1, 2, 3]),
        ]
        var bytes: [UInt8] = []
        var headers: [Int] = []
        for member in members {
            headers.append(bytes.count)
            bytes += Self.header(member.name, member.type, size: member.content.count) + member.content
            bytes += [UInt8](repeating: 0, count: (512 - member.content.count % 512) % 512)
        }
        original = bytes + [UInt8](repeating: 0, count: 1024)
        self.headers = headers
    }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        var bytes = original
        if mutator.number > original.count, mutator.below(2) == 0 {
            // A header alone, its checksum right.
            let start = headers[mutator.below(headers.count)]
            for _ in 0...mutator.below(3) { bytes[start + mutator.below(512)] = UInt8(mutator.below(256)) }
            Self.setChecksum(of: &bytes, at: start)
        } else if mutator.number > 0 {
            mutator.damage(&bytes)
        }
        var file = Self.gzip(bytes)
        if mutator.number > original.count, mutator.below(4) == 0 {
            file = Self.gzip(original)
            mutator.damage(&file)
        }
        write(file, to: path)
        defer { for name in names { FileSystem.remove("\(folder)/\(name)") } }
        try unpack(InputFile(path: path), of: CIFAR.cifar10, into: folder)
        guard names.allSatisfy({ CIFAR.cifar10.largestFiles[$0] != nil }) else {
            throw Failure(.internal, "a file of another name: \(names)")
        }
    }

    private var names: [String] { (try? FileSystem.names(inFolder: folder)) ?? [] }

    private static func header(_ name: String, _ type: Character, size: Int) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        let digits = Array(String(size, radix: 8).utf8)
        let fields: [(Int, [UInt8])] = [
            (0, Array(name.utf8)), (124, [UInt8](repeating: 0x30, count: 11 - digits.count) + digits),
            (156, Array(type.utf8)), (257, Array("ustar\u{0}00".utf8)),
        ]
        for (place, bytes) in fields { block.replaceSubrange(place..<place + bytes.count, with: bytes) }
        setChecksum(of: &block, at: 0)
        return block
    }

    private static func setChecksum(of bytes: inout [UInt8], at start: Int) {
        bytes.replaceSubrange(start + 148..<start + 156, with: [UInt8](repeating: 0x20, count: 8))
        let sum = bytes[start..<start + 512].reduce(0) { $0 + Int($1) }
        let digits = Array(String(sum, radix: 8).utf8)
        bytes.replaceSubrange(start + 148..<start + 148 + digits.count, with: digits)
    }

    /// As gzip has what cannot be compressed: one stored block.
    private static func gzip(_ bytes: [UInt8]) -> [UInt8] {
        func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian, Array.init)
        }
        let length = UInt16(bytes.count)
        var checksum = CRC32()
        bytes.withUnsafeBytes { checksum.add($0) }
        return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1] + littleEndian(length) + littleEndian(~length) + bytes
            + littleEndian(checksum.value) + littleEndian(UInt32(bytes.count))
    }
}
