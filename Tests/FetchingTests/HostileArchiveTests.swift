import FoundationEssentials
import Glibc
import Support
import TestSupport
import Testing

@testable import Fetching

/// Archives from anywhere whose sum is right: what is not the data set's own files is refused, and nothing stays.
@Suite struct HostileArchiveTests {
    private let scratch = ScratchFolder()
    private static let top = "cifar-10-batches-bin"

    private func fetch(_ path: String) throws -> DataSetFetch.Result {
        let archive = try DataSetArchive.cifar10.with(url: nil, md5: try md5Sum(path))
        return try DataSetFetch(archive, into: scratch("data")).run(from: path)
    }

    /// The data set's files as members of a tar archive.
    private static func members(except left: String = "") -> [UInt8] {
        let names = (1...5).map { "data_batch_\($0).bin" } + ["test_batch.bin"]
        return names.filter { $0 != left }.flatMap {
            tarMember("\(top)/\($0)", [UInt8](repeating: 3, count: 3073))
        }
    }

    private func expectRefused(
        _ path: String, _ words: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let failure = #expect(throws: Failure.self, sourceLocation: sourceLocation) { try fetch(path) }
        #expect(failure?.kind == .data, "\(failure as Any)", sourceLocation: sourceLocation)
        #expect(
            failure?.message.hasPrefix(path + ": ") == true && failure?.message.contains(words) == true
                && failure?.message.contains("\n") == false, "\(failure as Any)", sourceLocation: sourceLocation)
        let names = try? FileSystem.names(inFolder: scratch("data"))
        #expect(names == [".\(Self.top).lock"], sourceLocation: sourceLocation)
    }

    private static let refused: [(name: String, member: [UInt8], words: String)] = [
        ("parent", tarMember("../x", [1]), "its member ../x has a path that leads outside"),
        ("hidden parent", tarMember("\(top)/../../x", [1]), "../../x has a path that leads outside"),
        ("parent in the prefix", tarMember("x", [1], prefix: ".."), "../x has a path that leads outside"),
        ("absolute", tarMember("/tmp/x", [1]), "its member /tmp/x has a path that leads outside"),
        ("symbolic link", tarMember("\(top)/data_batch_1.bin", type: "2", link: "/etc/passwd"), "is a symbolic link"),
        ("link for the folder", tarMember(top, type: "2", link: "/tmp"), "\(top) is a symbolic link"),
        ("hard link", tarMember("\(top)/data_batch_1.bin", type: "1", link: "/etc/passwd"), "is a hard link"),
        ("device", tarMember("\(top)/data_batch_1.bin", type: "3"), "is a device"),
        ("pipe", tarMember("\(top)/data_batch_1.bin", type: "6"), "is a named pipe"),
        ("long name", tarMember("././@LongLink", [1], type: "L"), "is of type 76"),
        ("twice", members(), "data_batch_1.bin is there twice"),
        (
            "large file", tarMember("\(top)/data_batch_1.bin", size: 30_730_001),
            "has 30730001 bytes, expected at most 30730000"
        ),
        ("large text", tarMember("\(top)/batches.meta.txt", size: 65_537), "has 65537 bytes, expected at most 65536"),
        ("large other file", tarMember("\(top)/more.bin", size: 1 << 32), "has 4294967296 bytes; it is not"),
        (
            "giant size", tarMember("\(top)/x", sizeField: [0x80] + [UInt8](repeating: 0xFF, count: 11)),
            "no size below 8 GiB"
        ),
        ("negative size", tarMember("\(top)/x", sizeField: Array("-0000000001\0".utf8)), "no size below 8 GiB"),
        ("wrong checksum", tarMember("\(top)/x", [1], checksum: 1), "has a wrong checksum"),
        ("no name", tarMember("", [1]), "a name that is empty or no text"),
        ("a line in a name", tarMember("\(top)/a\nb", [1]), "a name that is empty or no text"),
        ("a cut header", Array(tarMember("\(top)/x").prefix(300)), "ends within a member"),
        ("no end", [], "ends within a member or without an end mark"),
        ("more after the end", tarEnd + tarMember("\(top)/x", [1]), "more follows after the end"),
        ("zeros without end", [UInt8](repeating: 0, count: 1 << 21), "more follows after the end"),
    ]

    @Test(arguments: refused.indices)
    func `a hostile member is refused by name, and nothing stays`(_ index: Int) throws {
        let (_, member, words) = Self.refused[index]
        // After good ones: these go again.
        expectRefused(try gzip(Self.members() + member, to: "archive", in: scratch), words)
        #expect(PathKind(of: scratch("x")).isMissing)
    }

    @Test func `a folder that is not whole is refused`() throws {
        let cases: [(archive: [UInt8], words: String)] = [
            ([], "unpacked, it: has neither CIFAR-10"),
            (Self.members(except: "test_batch.bin"), "unpacked, test_batch.bin: missing file of CIFAR-10"),
            (
                Self.members(except: "test_batch.bin") + tarMember("\(Self.top)/test_batch.bin", [1, 2]),
                "unpacked, test_batch.bin: 2 bytes are 0 records"
            ),
            (
                Self.members(except: "test_batch.bin") + tarMember("\(Self.top)/test_batch.bin"),
                "test_batch.bin: empty file"
            ),
        ]
        for (archive, words) in cases {
            expectRefused(try gzip(archive + tarEnd, to: "archive", in: scratch), words)
        }
    }

    @Test func `a compressed file that is damaged, cut or none is refused`() throws {
        let path = try gzip(Self.members() + tarEnd, to: "archive", in: scratch)
        let good = try scratch.read("archive.gz")
        _ = try fetch(path)
        try FileManager.default.removeItem(atPath: scratch("data"))
        for length in [0, 1, 5, 10, good.count / 2, good.count - 8, good.count - 1] {
            expectRefused(try scratch.write(Array(good.prefix(length)), to: "bad"), "within its compressed data")
        }
        var wrongSum = good
        wrongSum[good.count - 8] ^= 1
        expectRefused(try scratch.write(wrongSum, to: "bad"), "damaged gzip data near byte")
        expectRefused(try scratch.write(good + [1, 2, 3], to: "bad"), "damaged gzip data near byte")
        expectRefused(try scratch.write(Array("<html>not found</html>".utf8), to: "bad"), "damaged gzip data")
        // A bomb: a thousandth of what it unpacks to.
        let bomb = try gzip(
            Self.members() + tarMember("\(Self.top)/x", [UInt8](repeating: 0, count: 50 << 20)), to: "bomb", in: scratch
        )
        #expect(try InputFile(path: bomb).size < 100_000)
        expectRefused(bomb, "\(Self.top)/x has 52428800 bytes; it is not CIFAR-10's archive")
    }

    @Test(arguments: ["gnu", "ustar", "pax", "v7"])
    func `archives of each format of tar are unpacked alike`(_ format: String) throws {
        let archive = try SmallArchive("cifar10", in: scratch, format: format)
        let result = try fetch(scratch("cifar10.tar.gz"))
        #expect(result.isNew && result.trainImages == 25 && result.testImages == 5)
        #expect(try contents(of: result.path) == archive.files(in: scratch))
    }

    @Test func `files of other names are passed over, and attributes are not followed`() throws {
        func attribute(_ text: String) -> [UInt8] {
            // The line's length counts itself.
            tarMember("PaxHeader", Array("\(text.utf8.count + 4) \(text)\n".utf8), type: "x")
        }
        let others =
            tarMember("./", type: "5") + tarMember("\(Self.top)/", type: "5") + tarMember("other/readme.html", [1])
            + tarMember("\(Self.top)/deeper/data_batch_1.bin", [1]) + tarMember("./\(Self.top)/batches.meta.txt~", [1])
            + tarMember("data_batch_1.bin", [1]) + attribute("path=../../evil")
        let result = try fetch(try gzip(others + Self.members() + tarEnd, to: "archive", in: scratch))
        #expect(
            try FileSystem.names(inFolder: result.path).sorted() == (1...5).map { "data_batch_\($0).bin" } + [
                "test_batch.bin"
            ])
        #expect(scratch.names == ["archive.gz", "data"])
    }

    @Test func `links in the folder to fetch into are not followed`() throws {
        let path = try gzip(Self.members() + tarEnd, to: "archive", in: scratch)
        for folder in ["data", "elsewhere"] { try FileSystem.makeFolder(scratch(folder)) }
        _ = try scratch.write([1], to: "elsewhere/kept")
        symlink(scratch("elsewhere"), scratch("data/\(Self.top).unpacking"))
        _ = try fetch(path)
        #expect(try FileSystem.names(inFolder: scratch("elsewhere")) == ["kept"])
        #expect(try contents(of: scratch("data/\(Self.top)")).count == 6)
    }

    @Test func `what a killed process left half unpacked is replaced`() throws {
        let path = try gzip(Self.members() + tarEnd, to: "archive", in: scratch)
        try FileSystem.makeFolderAndParents(scratch("data/\(Self.top).unpacking"))
        _ = try scratch.write([1], to: "data/\(Self.top).unpacking/data_batch_1.bin")
        let result = try fetch(path)
        #expect(try contents(of: result.path)["data_batch_1.bin"]?.count == 3073)
        #expect(try FileSystem.names(inFolder: scratch("data")).sorted() == [".\(Self.top).lock", Self.top])
    }
}
