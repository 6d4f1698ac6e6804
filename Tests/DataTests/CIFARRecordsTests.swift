import Support
import Testing

@testable import ImageData

@Suite struct CIFARRecordsTests {
    let folder = TemporaryFolder()

    @Test(arguments: [(1, 10), (2, 100)])
    func `records of both sets are pictures without their labels`(headerBytes: Int, classes: Int) throws {
        let record = headerBytes + pixelBytes
        let bytes = (0..<3 * record).map { UInt8($0 % 251) }
        folder.write(bytes, to: "f.bin")
        let records = try CIFARRecords(path: "\(folder.path)/f.bin", classes: classes)
        #expect(records.count == 3)
        #expect(try records.pixels(of: 2) == Array(bytes[2 * record + headerBytes..<3 * record]))
    }

    @Test(arguments: [(10, 3074), (100, 3073)])
    func `a size that fits both sets is of the one with the network's classes`(classes: Int, count: Int) throws {
        folder.write([UInt8](repeating: 0, count: 3073 * 3074), to: "f.bin")
        #expect(try CIFARRecords(path: "\(folder.path)/f.bin", classes: classes).count == count)
    }

    @Test func `a file of another size is refused`() {
        let path = "\(folder.path)/f.bin"
        for count in [0, 1, 3072, 3075] {
            folder.write([UInt8](repeating: 0, count: count), to: "f.bin")
            #expect(throws: Failure.self) { try CIFARRecords(path: path, classes: 10) }
        }
    }
}
