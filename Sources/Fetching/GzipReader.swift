import CZlib
import Support

/// The bytes of a gzip file as they are decompressed, in order; in memory is never more than a piece of them.
@safe final class GzipReader {
    let path: String
    private let file: InputFile
    /// How much of the file the decompressor has been given.
    private var offset = 0
    private let input = AlignedBuffer<UInt8>(count: 1 << 16)
    /// On the heap, since zlib keeps its address.
    private let stream: UnsafeMutablePointer<z_stream>
    /// Whether what comes next, if anything, begins another member of the file.
    private var isBetweenMembers = false

    /// - Throws: `Failure(.unavailable)` if there is no memory for the decompressor.
    init(_ file: InputFile) throws {
        self.file = file
        path = file.path
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        // 15 bits of window, as gzip has it; 16 more for gzip's header and checksum.
        let code = unsafe inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard code == Z_OK else {
            throw Failure(.unavailable, "no memory to decompress \(path); end other programs")
        }
    }

    deinit {
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// Fills `buffer`.
    ///
    /// - Returns: how many bytes it has now; fewer than it holds only at the end of the file, whose checksums were right
    ///   then.
    /// - Throws: `Failure(.data)` if the file is no gzip file, damaged or cut; what reading it throws.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard let start = buffer.baseAddress else { return 0 }
        unsafe stream.pointee.next_out = start.assumingMemoryBound(to: UInt8.self)
        unsafe stream.pointee.avail_out = UInt32(buffer.count)
        while unsafe stream.pointee.avail_out > 0 {
            if unsafe stream.pointee.avail_in == 0, try !refill() {
                guard isBetweenMembers else {
                    throw Failure(
                        .data, "\(path): ends after \(offset) bytes, within its compressed data; fetch it again")
                }
                break
            }
            if isBetweenMembers {
                unsafe inflateReset(stream)
                isBetweenMembers = false
            }
            let code = unsafe inflate(stream, Z_NO_FLUSH)
            isBetweenMembers = code == Z_STREAM_END
            guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
                let place = unsafe offset - Int(stream.pointee.avail_in)
                throw Failure(
                    .data,
                    "\(path): \(place == 0 ? "is no gzip file" : "damaged gzip data near byte \(place)"); fetch it again"
                )
            }
        }
        return unsafe buffer.count - Int(stream.pointee.avail_out)
    }

    /// False at the end of the file.
    private func refill() throws -> Bool {
        let count = min(input.count, file.size - offset)
        guard count > 0 else { return false }
        try unsafe file.read(into: UnsafeMutableRawBufferPointer(input[0..<count]), at: offset)
        offset += count
        unsafe stream.pointee.next_in = input.pointer
        unsafe stream.pointee.avail_in = UInt32(count)
        return true
    }
}
