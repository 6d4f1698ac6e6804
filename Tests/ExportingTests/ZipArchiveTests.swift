import Safetensors
import Support
import TestSupport
import Testing

@testable import Exporting

@Suite struct ZipArchiveTests {
    private let scratch = ScratchFolder()

    @Test func `an archive has headers, aligned contents, a directory and an end`() throws {
        let tensor = NamedTensor(name: "t", shape: [2], values: [1, -2])
        let text = Array("123456789".utf8)
        try ZipArchive.write(
            [.init("a.txt", text), .init("folder/b", [7], tensor: tensor)], to: scratch("x.zip"))
        let bytes = try scratch.read("x.zip")
        #expect(bytes.prefix(4) == [0x50, 0x4B, 3, 4])
        // The checksum of "123456789" that all descriptions of CRC-32 have, and the size, twice.
        #expect(bytes[14..<26] == [0x26, 0x39, 0xF4, 0xCB, 9, 0, 0, 0, 9, 0, 0, 0])
        #expect(bytes[26..<30] == [5, 0, 29, 0] && String(decoding: bytes[30..<35], as: UTF8.self) == "a.txt")
        #expect(bytes[64..<73] == text[...])
        #expect(bytes[73..<77] == [0x50, 0x4B, 3, 4])
        #expect(bytes[128..<137] == [7, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0])
        let entry = bytes[137...]
        #expect(entry.prefix(4) == [0x50, 0x4B, 1, 2])
        #expect(bytes.suffix(22).prefix(12) == [0x50, 0x4B, 5, 6, 0, 0, 0, 0, 2, 0, 2, 0])
        #expect(bytes.suffix(22).suffix(10).prefix(8) == [105, 0, 0, 0, 137, 0, 0, 0])
        #expect(bytes.count == 137 + 105 + 22)
        #expect(scratch.names == ["x.zip"])
    }

    @Test func `an archive that cannot be written leaves nothing`() {
        let path = scratch("missing/x.zip")
        let failure = #expect(throws: Failure.self) { try ZipArchive.write([.init("a", [1])], to: path) }
        #expect(failure?.kind == .unavailable && failure?.message.contains(path) == true)
    }

    @Test(arguments: [
        ([], "()"), ([3], "(3,)"), ([2, 3], "(2, 3,)"), ([64, 3, 7, 7], "(64, 3, 7, 7,)"),
    ])
    func `an array's header says its shape and fills 64 bytes`(_ shape: [Int], _ text: String) {
        let header = ExportedNetwork.arrayHeader(shape: shape)
        #expect(header.count.isMultiple(of: 64) && header.last == UInt8(ascii: "\n"))
        #expect(Array(header.prefix(8)) == [0x93] + Array("NUMPY".utf8) + [1, 0])
        #expect(Int(header[8]) + Int(header[9]) << 8 == header.count - 10)
        let words = String(decoding: header[10...], as: UTF8.self)
        #expect(words.hasPrefix("{'descr': '<f4', 'fortran_order': False, 'shape': \(text), }"))
    }
}
