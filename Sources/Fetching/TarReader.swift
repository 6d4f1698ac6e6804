import Support

/// The members of a compressed tar archive, one after another.
struct TarReader {
    private let source: GzipReader
    private let buffer = AlignedBuffer<UInt8>(count: 1 << 16)
    /// Bytes of the present member that are still to be read, and those that fill its last block.
    private var rest = 0
    private var padding = 0
    /// Bytes of the archive before the present position.
    private var offset = 0

    /// Zeros after the last member, at most; by default tar fills up to a multiple of 10,240 bytes.
    private static let longestEnd = 1 << 20

    init(_ source: GzipReader) { self.source = source }

    /// The header of the next member; skips what is left of the one before it. Nil at the end, with all of the file
    /// read.
    ///
    /// - Throws: `Failure(.data)` if the archive is damaged or cut; what `GzipReader` throws.
    mutating func next() throws -> TarHeader? {
        try unsafe read { _ in }
        _ = try unsafe bytes(padding)
        let place = "\(source.path): the header at byte \(offset) of the archive in it"
        let block = unsafe Array(try bytes(TarHeader.blockSize))
        guard block.contains(where: { $0 != 0 }) else {
            try readEnd()
            return nil
        }
        let header = try TarHeader(block, place)
        rest = header.size
        padding = (TarHeader.blockSize - header.size % TarHeader.blockSize) % TarHeader.blockSize
        return header
    }

    /// Passes the bytes of the present member to `body`, piece by piece.
    ///
    /// - Throws: as `next()`, and what `body` throws.
    mutating func read(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        while rest > 0 {
            let piece = try unsafe bytes(min(rest, buffer.count))
            rest -= piece.count
            try unsafe body(piece)
        }
    }

    /// The next `count` bytes, at most as many as the buffer has; valid until the next call.
    private mutating func bytes(_ count: Int) throws -> UnsafeRawBufferPointer {
        let piece = unsafe UnsafeMutableRawBufferPointer(buffer[0..<count])
        guard try unsafe source.read(into: piece) == count else {
            throw Failure(
                .data, "\(source.path): the archive in it ends within a member or without an end mark; fetch it again")
        }
        offset += count
        return UnsafeRawBufferPointer(piece)
    }

    /// Reads the zeros after the last member, up to the checksum of the file.
    private func readEnd() throws {
        var total = 0
        while true {
            let piece = unsafe UnsafeMutableRawBufferPointer(buffer.elements)
            let count = try unsafe source.read(into: piece)
            total += count
            guard unsafe piece[..<count].allSatisfy({ $0 == 0 }), total <= Self.longestEnd else {
                throw Failure(.data, "\(source.path): more follows after the end of the archive in it; fetch it again")
            }
            if count < buffer.count { return }
        }
    }
}
