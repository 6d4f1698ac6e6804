import FoundationEssentials
import ImageData
import Support
import TestSupport
import Testing

/// Archives of small data sets, and what a test fetches them with.
struct SmallArchive {
    /// The folder in it.
    let folder: String
    let name: String
    let bytes: [UInt8]
    let md5: String

    /// A data set of a few records in the official layout, as the tar program packs it.
    ///
    /// - Parameter name: `cifar10` or `cifar100`.
    init(_ name: String, in scratch: ScratchFolder, format: String = "gnu") throws {
        self.name = name
        folder = name == "cifar10" ? "cifar-10-batches-bin" : "cifar-100-binary"
        let source = scratch("source-\(name)")
        try FileSystem.makeFolderAndParents(source)
        if name == "cifar10" {
            try SyntheticImages.write(to: "\(source)/\(folder)", train: 25, test: 5, seed: 1)
            _ = try scratch.write(Array("about".utf8), to: "source-cifar10/\(folder)/readme.html")
        } else {
            try Self.writeCIFAR100(to: "\(source)/\(folder)")
        }
        let path = scratch("\(name).tar.gz")
        let tar = try run("tar", ["--format", format, "-czf", path, "-C", source, folder])
        try #require(tar.status == 0, "\(tar.errors)")
        bytes = try scratch.read("\(name).tar.gz")
        md5 = try md5Sum(path)
    }

    private static func writeCIFAR100(to folder: String) throws {
        try FileSystem.makeFolder(folder)
        for (name, records) in [("train.bin", 7), ("test.bin", 3)] {
            let bytes = (0..<records * 3074).map { UInt8($0 % 3074 < 2 ? $0 % 20 : $0 % 251) }
            try AtomicFile.write(bytes, to: "\(folder)/\(name)")
        }
        for (name, classes) in [("fine_label_names.txt", 100), ("coarse_label_names.txt", 20)] {
            try AtomicFile.write((0..<classes).map { "c\($0)\n" }.joined().utf8, to: "\(folder)/\(name)")
        }
    }

    /// The files of the data set.
    func files(in scratch: ScratchFolder) throws -> [String: [UInt8]] {
        try contents(of: scratch("source-\(name)/\(folder)"))
    }
}

/// The files of a folder.
func contents(of folder: String) throws -> [String: [UInt8]] {
    let names = try FileSystem.names(inFolder: folder)
    return try Dictionary(
        uniqueKeysWithValues: names.map { ($0, try InputFile.contents(of: "\(folder)/\($0)", atMost: 1 << 24)) })
}

func md5Sum(_ path: String) throws -> String { String(try run("md5sum", [path]).output.prefix(32)) }

/// A member of a tar archive, right unless a parameter makes it wrong.
func tarMember(
    _ name: String, _ content: [UInt8] = [], type: Character = "0", link: String = "", size: Int? = nil,
    sizeField: [UInt8]? = nil, magic: String = "ustar\u{0}00", prefix: String = "", checksum: Int? = nil
) -> [UInt8] {
    var block = [UInt8](repeating: 0, count: 512)
    func put(_ bytes: some Sequence<UInt8>, at place: Int) {
        for (index, byte) in bytes.enumerated() { block[place + index] = byte }
    }
    func octal(_ number: Int, digits: Int) -> String.UTF8View {
        let text = String(number, radix: 8)
        return (String(repeating: "0", count: max(digits - text.count, 0)) + text).utf8
    }
    put(name.utf8.prefix(100), at: 0)
    put(octal(0o644, digits: 7), at: 100)
    put(sizeField ?? Array(octal(size ?? content.count, digits: 11)), at: 124)
    put(octal(0, digits: 11), at: 136)
    put(type.utf8, at: 156)
    put(link.utf8, at: 157)
    put(magic.utf8, at: 257)
    put(prefix.utf8, at: 345)
    put(repeatElement(0x20, count: 8), at: 148)
    put(octal(checksum ?? block.reduce(0) { $0 + Int($1) }, digits: 6), at: 148)
    block[154] = 0
    return block + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
}

/// Two blocks of zeros.
let tarEnd = [UInt8](repeating: 0, count: 1024)

/// Writes bytes compressed by gzip and returns the path.
func gzip(_ bytes: [UInt8], to name: String, in scratch: ScratchFolder) throws -> String {
    let job = try run("gzip", ["-f", try scratch.write(bytes, to: name)])
    try #require(job.status == 0, "\(job.errors)")
    return scratch("\(name).gz")
}
