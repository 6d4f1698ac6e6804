/// CRC-32C (Castagnoli), the checksum of records in event files. It is not the CRC-32 of zip and PNG.
enum CRC32C {
    /// What each value of a byte does to the rest of the sum; the polynomial is reflected.
    static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { rest, _ in rest >> 1 ^ (rest & 1 == 1 ? 0x82F6_3B78 : 0) }
    }

    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        table.withUnsafeBufferPointer { table in
            bytes.withUnsafeBufferPointer { bytes in
                var rest = UInt32.max
                for byte in bytes { rest = rest >> 8 ^ table[Int(UInt8(truncatingIfNeeded: rest) ^ byte)] }
                return ~rest
            }
        }
    }

    /// As a record stores it: rotated and shifted, since the checksum of bytes that hold their own checksum is weak.
    static func masked(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        let sum = checksum(bytes)
        return (sum >> 15 | sum << 17) &+ 0xA282_EAD8
    }
}
