/// A record of an event file (TensorFlow's TFRecord): the length of its data in eight bytes, the masked CRC-32C of
/// these, the data, and the masked CRC-32C of the data; numbers are little-endian.
enum EventRecord {
    private static let headerBytes = 12
    private static let trailerBytes = 4

    /// The bytes of a record.
    static func bytes(of data: [UInt8]) -> [UInt8] {
        var record = little(UInt64(data.count))
        record += little(CRC32C.masked(record[...]))
        record += data
        record += little(CRC32C.masked(data[...]))
        return record
    }

    /// The data of a file's records, up to the first one that is damaged or torn.
    ///
    /// - Returns: with each, where its record ends.
    static func whole(in file: [UInt8]) -> [(data: ArraySlice<UInt8>, end: Int)] {
        var found: [(data: ArraySlice<UInt8>, end: Int)] = []
        var start = 0
        while let record = record(in: file, at: start) {
            found.append(record)
            start = record.end
        }
        return found
    }

    private static func record(in file: [UInt8], at start: Int) -> (data: ArraySlice<UInt8>, end: Int)? {
        let rest = file.count - start - headerBytes - trailerBytes
        guard rest >= 0 else { return nil }
        let length = file[start..<start + 8]
        guard CRC32C.masked(length) == number(file[start + 8..<start + headerBytes]),
            let count = Int(exactly: number(length) as UInt64), count <= rest
        else { return nil }
        let data = file[start + headerBytes..<start + headerBytes + count]
        let end = data.endIndex + trailerBytes
        guard CRC32C.masked(data) == number(file[data.endIndex..<end]) else { return nil }
        return (data, end)
    }

    private static func little(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian, Array.init)
    }

    private static func number<Number: FixedWidthInteger>(_ bytes: ArraySlice<UInt8>) -> Number {
        bytes.reversed().reduce(0) { $0 << 8 | Number($1) }
    }
}
