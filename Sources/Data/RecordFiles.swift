import Support

/// Images as records of one layout, one segment after the other.
struct RecordFiles: Sendable {
    let layout: ImageSet.Layout
    let segments: [ImageSet.Segment]

    /// Copies the record of an image, laid out as in `Layout`.
    ///
    /// - Parameter record: `layout.recordBytes` bytes.
    /// - Returns: the label, in `0..<layout.classes`.
    /// - Throws: `Failure(.data)` for a label out of range, naming file, record, byte offset, value and range, and for
    ///   a file that has become shorter; `Failure(.noInput)` if the system refuses to read it.
    /// - Precondition: there is an image of that index.
    @discardableResult
    func read(_ index: Int, into record: UnsafeMutablePointer<UInt8>) throws(Failure) -> Int {
        let (segment, position) = locate(index)
        let start = position * layout.recordBytes
        switch segment.records {
        case .memory(let buffer): record.update(from: buffer.pointer + start, count: layout.recordBytes)
        case .file(let file):
            try file.read(into: UnsafeMutableRawBufferPointer(start: record, count: layout.recordBytes), at: start)
        }
        let label = Int(record[layout.headerBytes - 1])
        guard label < layout.classes else {
            throw Failure(
                .data,
                "\(segment.name): record \(position) (byte \(start + layout.headerBytes - 1)) has label \(label), "
                    + "expected 0 to \(layout.classes - 1); the file is damaged, fetch it again")
        }
        return label
    }

    /// The files, with the number and the CRC-32 of the bytes of the first `count` images.
    ///
    /// - Throws: `Failure(.noInput)` if the system refuses to read.
    func checksums(count: Int) throws -> [(path: String, bytes: Int, checksum: CRC32)] {
        let block = AlignedBuffer<UInt8>(count: 1 << 20)
        var rest = count
        return try segments.map { segment in
            let bytes = min(segment.count, rest) * layout.recordBytes
            rest -= min(segment.count, rest)
            var sum = CRC32()
            switch segment.records {
            case .memory(let buffer): sum.add(UnsafeRawBufferPointer(buffer[0..<bytes]))
            case .file(let file):
                for start in stride(from: 0, to: bytes, by: block.count) {
                    let part = UnsafeMutableRawBufferPointer(block[0..<min(block.count, bytes - start)])
                    try file.read(into: part, at: start)
                    sum.add(UnsafeRawBufferPointer(part))
                }
            }
            return (segment.name, bytes, sum)
        }
    }

    /// The segment that holds an image, and the image's index in it. A linear search suffices for CIFAR-10's five
    /// segments.
    private func locate(_ index: Int) -> (segment: ImageSet.Segment, position: Int) {
        precondition(index >= 0, "there is no image \(index)")
        var segment = 0
        var position = index
        while position >= segments[segment].count {
            position -= segments[segment].count
            segment += 1
        }
        return (segments[segment], position)
    }
}
