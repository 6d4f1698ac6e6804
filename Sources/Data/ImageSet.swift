import Support

/// An immutable set of labelled images, in colour or, where a framing says so, in grey: records of one size in files or in memory that the set owns, or pictures of
/// any sizes in files. Thread-safe.
///
/// Images are read in one size: that of the records, or the one that a framing gives them.
public final class ImageSet: Sendable {
    /// The layout of a record: header bytes, the last of which is the label, then the red, green and blue planes.
    struct Layout: Sendable {
        let classes: Int
        let height: Int
        let width: Int
        let headerBytes: Int

        /// Records are in colour.
        static let channels = 3
        var pixelBytes: Int { Self.channels * height * width }
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

    /// Where the images are.
    enum Storage: Sendable {
        case records(RecordFiles)
        case pictures(PictureFiles)
    }

    /// The number of images.
    public let count: Int
    /// The names of the classes in the order of their labels, if known.
    public let classNames: [String]?
    /// The number of classes; labels are `0 ..< classes`.
    public let classes: Int
    /// How images get their size; nil leaves records as they are.
    public let framing: ImageFraming?
    let storage: Storage

    /// 3 for red, green and blue, 1 for grey.
    package var channels: Int { framing?.channels ?? Layout.channels }
    /// Of every image as it is read, in pixels.
    public let height: Int
    /// Of every image as it is read, in pixels.
    public let width: Int
    /// Numbers of an image as it is read.
    var pixelBytes: Int { channels * height * width }

    init(layout: Layout, segments: [Segment], classNames: [String]?, limit: Int? = nil) {
        let total = segments.reduce(0) { $0 + $1.count }
        storage = .records(RecordFiles(layout: layout, segments: segments))
        self.classNames = classNames
        count = min(total, limit ?? total)
        (classes, height, width, framing) = (layout.classes, layout.height, layout.width, nil)
    }

    package init(pictures: PictureFiles, classNames: [String], framing: ImageFraming) {
        storage = .pictures(pictures)
        self.classNames = classNames
        (count, classes) = (pictures.files.count, classNames.count)
        (height, width, self.framing) = (framing.size, framing.size, framing)
    }

    private init(_ other: ImageSet, count: Int, framing: ImageFraming?) {
        (storage, classNames, classes) = (other.storage, other.classNames, other.classes)
        self.count = count
        self.framing = framing
        (height, width) = framing.map { ($0.size, $0.size) } ?? (other.height, other.width)
    }

    /// A set of images given by the caller.
    ///
    /// - Parameters:
    ///   - pixels: shape [count][3][height][width]: red, green and blue planes.
    ///   - labels: one per image, each in `0..<classNames.count`.
    ///   - height: of each image, in pixels.
    ///   - width: of each image, in pixels.
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

    /// Whether images are read in the size that records have.
    package var hasSizeOfRecords: Bool {
        guard case .records(let records) = storage else { return false }
        return records.layout.height == height && records.layout.width == width
    }

    /// Whether pictures that cannot be read are left out of batches.
    package var skipsBadPictures: Bool {
        guard case .pictures(let pictures) = storage else { return false }
        return pictures.skipsBad
    }

    /// Whether the images are pictures in files of their own.
    package var arePictures: Bool {
        guard case .pictures = storage else { return false }
        return true
    }

    /// The file of a picture, below the folder of the set; nil for a record.
    package func path(of index: Int) -> String? {
        guard case .pictures(let pictures) = storage else { return nil }
        return pictures.files[index].path
    }

    /// Whether a folder may hold pictures: whether it has folders.
    package static func hasPictures(in folder: String) -> Bool { ClassFolders.areIn(folder) }

    /// The first `n` images, or all if there are fewer. Shares this set's memory.
    package func prefix(_ n: Int) -> ImageSet {
        precondition(n >= 0, "a set cannot have \(n) images")
        return ImageSet(self, count: min(n, count), framing: framing)
    }

    /// The same images in another size, or in grey. Shares this set's memory.
    public func framed(_ framing: ImageFraming) -> ImageSet {
        if case .records(let records) = storage, records.layout.height == framing.size,
            records.layout.width == framing.size, framing.edge == framing.size,
            framing.channels == Layout.channels
        {
            return ImageSet(self, count: count, framing: nil)
        }
        return ImageSet(self, count: count, framing: framing)
    }

    /// One image: its pixels, shape [channels][height][width], and its label.
    ///
    /// - Throws: `Failure(.data)` for a damaged record or picture, `Failure(.noInput)` if the system refuses to read it.
    /// - Precondition: `0 ≤ index < count`.
    public func image(_ index: Int) throws -> (pixels: [UInt8], label: Int) {
        let reader = ImageReader(self)
        var pixels = [UInt8](repeating: 0, count: pixelBytes)
        let label = try pixels.withUnsafeMutableBufferPointer { try reader.read(index, into: $0.baseAddress!) }
        return (pixels, label)
    }

    /// The files of the set, with the number and the CRC-32 of the bytes in use.
    ///
    /// Picture files count as one, by their list and a sample of their bytes: see `PictureFiles.checksum`.
    ///
    /// - Throws: `Failure(.noInput)` if the system refuses to read.
    package func checksums() throws -> [(path: String, bytes: Int, checksum: CRC32)] {
        switch storage {
        case .records(let records): try records.checksums(count: count)
        case .pictures(let pictures): [try pictures.checksum()]
        }
    }

    /// Checks the labels of one of `parts` parts of the images, so that the ranks can share the work.
    ///
    /// - Throws: as `read`, for the first invalid image.
    package func validateLabels(part: Int, of parts: Int) throws {
        guard case .records(let records) = storage else { return }
        let record = AlignedBuffer<UInt8>(count: records.layout.recordBytes)
        defer { withExtendedLifetime(record) {} }
        for index in partition(count, into: parts, part: part) { try records.read(index, into: record.pointer) }
    }
}
