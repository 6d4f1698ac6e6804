import CZlib

/// An incremental CRC-32 (zlib's).
package struct CRC32: Sendable, Equatable {
    package private(set) var value: UInt32 = 0

    package init() {}

    package mutating func add(_ bytes: UnsafeRawBufferPointer) {
        // zlib restarts the checksum if the buffer is null.
        guard let start = bytes.baseAddress, unsafe !bytes.isEmpty else { return }
        value = unsafe UInt32(crc32_z(UInt(value), start.assumingMemoryBound(to: UInt8.self), bytes.count))
    }

    package mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { unsafe add(UnsafeRawBufferPointer($0)) }
    }

    /// Eight hexadecimal digits.
    package var text: String { String(value, radix: 16).paddedWithZeros(to: 8) }
}
