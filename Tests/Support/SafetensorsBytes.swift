/// The bytes of a safetensors file with any header and `data` bytes of data.
public func safetensors(_ header: String, data count: Int = 0) -> [UInt8] {
    let header = Array(header.utf8)
    return withUnsafeBytes(of: UInt64(header.count).littleEndian, Array.init) + header
        + (0..<count).map { UInt8($0 % 251) }
}
