import Support

/// An immutable set of labelled RGB images of one size, in files or in memory that the set owns. Thread-safe.
public final class ImageSet: Sendable {
    /// The layout of a record: header bytes, the last of which is the label, then the red, green and blue planes.
    struct Layout: Sendable {
        let classes: Int
        let height: Int
        let width: Int
        let headerBytes: Int

        var pixelBytes: Int { ImageSet.channels * height * width }
        var recordBytes: Int { headerBytes + pixelBytes }
    }

    /// Consecutive records in one file or buffer.
    struct Segment: Sendable {
        enum Records: Sendable {
            case memory(AlignedBuffer<UInt8>)
            case file(InputFile)
        }

        let name: String
        let count: Int
        let records: Records
    }

    static let channels = 3

    /// The number of images.
    public let count: Int
    /// The names of the classes in the order of their labels, if known.
    public let classNames: [String]?
    let layout: Layout
    private let segments: [Segment]

    /// The number of classes; labels are `0 ..< classes`.
    public var classes: Int { layout.classes }
    /// Always 3: red, green, blue.
    package var channels: Int { Self.channels }
    /// Of every image, in pixels.
    public var height: Int { layout.height }
    /// Of every image, in pixels.
    public var width: Int { layout.width }

    init(layout: Layout, segments: [Segment], classNames: [String]?, limit: Int? = nil) {
        let total = segments.reduce(0) { $0 + $1.count }
        self.layout = layout
        self.segments = segments
        self.classNames = classNames
        count = min(total, limit ?? total)
    }

    /// A set of images given by the caller.
    ///
    /// - Parameters:
    ///   - pixels: shape [count][3][height][width]: red, green and blue planes.
    ///   - labels: one per image, each in `0..<classNames.count`.
    ///   - classNames: 1 to 256 names.
    /// - Throws: `Failure(.usage)` if the numbers of pixels, labels and classes do not match, or a label is out of
    ///   range.
    public convenience init(
        pixels: Span<UInt8>, labels: [Int], height: Int, width: Int, classNames: [String]
    ) throws {
        guard height > 0, width > 0, (1...256).contains(classNames.count) else {
            throw Failure(
                .usage,
                "images of \(height) × \(width) pixels in \(classNames.count) classes: expected at least 1 pixel and 1 "
                    + "to 256 classes")
        }
        let layout = Layout(classes: classNames.count, height: height, width: width, headerBytes: 1)
        guard pixels.count == labels.count * layout.pixelBytes else {
            throw Failure(
                .usage,
                "\(pixels.count) bytes of pixels for \(labels.count) labels: expected \(layout.pixelBytes) per image")
        }
        let records = AlignedBuffer<UInt8>(count: labels.count * layout.recordBytes)
        for (index, label) in labels.enumerated() {
            guard classNames.indices.contains(label) else {
                throw Failure(
                    .usage, "image \(index) has label \(label), expected 0 to \(classNames.count - 1)")
            }
            let record = records.pointer + index * layout.recordBytes
            record[0] = UInt8(label)
            for byte in 0..<layout.pixelBytes { record[1 + byte] = pixels[index * layout.pixelBytes + byte] }
        }
        let segment = Segment(name: "images in memory", count: labels.count, records: .memory(records))
        self.init(layout: layout, segments: [segment], classNames: classNames)
    }

    /// The first `n` images, or all if there are fewer. Shares this set's memory.
    package func prefix(_ n: Int) -> ImageSet {
        precondition(n >= 0, "a set cannot have \(n) images")
        return ImageSet(layout: layout, segments: segments, classNames: classNames, limit: min(n, count))
    }

    /// One image: its pixels, shape [3][height][width], and its label.
    ///
    /// - Throws: `Failure(.data)` for a damaged record, `Failure(.noInput)` if the system refuses to read it.
    /// - Precondition: `0 ≤ index < count`.
    public func image(_ index: Int) throws -> (pixels: [UInt8], label: Int) {
        let record = AlignedBuffer<UInt8>(count: layout.recordBytes)
        let label = try read(index, into: record.pointer)
        return (Array(record.elements[layout.headerBytes...]), label)
    }

    /// Copies the record of an image, laid out as in `Layout`.
    ///
    /// - Parameter record: `layout.recordBytes` bytes.
    /// - Returns: the label, in `0..<classes`.
    /// - Throws: `Failure(.data)` for a label out of range, naming file, record, byte offset, value and range, and for
    ///   a file that has become shorter; `Failure(.noInput)` if the system refuses to read it.
    /// - Precondition: `0 ≤ index < count`.
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
        guard label < classes else {
            throw Failure(
                .data,
                "\(segment.name): record \(position) (byte \(start + layout.headerBytes - 1)) has label \(label), "
                    + "expected 0 to \(classes - 1); the file is damaged, fetch it again")
        }
        return label
    }

    /// The files of the set, with the number and the CRC-32 of the bytes in use.
    ///
    /// - Throws: `Failure(.noInput)` if the system refuses to read.
    package func checksums() throws -> [(path: String, bytes: Int, checksum: CRC32)] {
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

    /// Checks the labels of one of `parts` parts of the images, so that the ranks can share the work.
    ///
    /// - Throws: as `read`, for the first invalid image.
    package func validateLabels(part: Int, of parts: Int) throws {
        let record = AlignedBuffer<UInt8>(count: layout.recordBytes)
        defer { withExtendedLifetime(record) {} }
        for index in partition(count, into: parts, part: part) { try read(index, into: record.pointer) }
    }

    /// The segment that holds an image, and the image's index in it. A linear search suffices for CIFAR-10's five
    /// segments.
    private func locate(_ index: Int) -> (segment: Segment, position: Int) {
        precondition(index >= 0 && index < count, "there is no image \(index) in a set of \(count)")
        var segment = 0
        var position = index
        while position >= segments[segment].count {
            position -= segments[segment].count
            segment += 1
        }
        return (segments[segment], position)
    }
}
