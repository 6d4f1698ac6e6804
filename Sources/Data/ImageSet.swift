import Kernels

/// An immutable set of labelled images of one size: red, green and blue planes of bytes, row-major.
///
/// The records lie in mapped files or in memory owned by the set; all threads may read it.
public final class ImageSet: @unchecked Sendable {
    /// How one record is laid out: header bytes, the last of which is the label, then the planes.
    struct Layout: Sendable {
        let classes: Int
        let height: Int
        let width: Int
        let headerBytes: Int

        var pixelBytes: Int { ImageSet.channels * height * width }
        var recordBytes: Int { headerBytes + pixelBytes }
    }

    /// A run of records and whoever keeps their memory alive.
    struct Segment {
        let name: String
        let base: UnsafePointer<UInt8>
        let count: Int
        let owner: AnyObject
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
    public var channels: Int { Self.channels }
    public var height: Int { layout.height }
    public var width: Int { layout.width }

    init(layout: Layout, segments: [Segment], classNames: [String]?, limit: Int? = nil) {
        let total = segments.reduce(0) { $0 + $1.count }
        self.layout = layout
        self.segments = segments
        self.classNames = classNames
        count = min(total, limit ?? total)
    }

    /// The first `n` images (all of them if there are fewer); shares this set's memory.
    public func prefix(_ n: Int) -> ImageSet {
        precondition(n >= 0, "a set cannot have \(n) images")
        return ImageSet(layout: layout, segments: segments, classNames: classNames, limit: min(n, count))
    }

    /// The label of an image, as it stands in the record; `validateLabels` makes sure that it is in `0 ..< classes`.
    ///
    /// - Precondition: `0 ≤ index < count`.
    public func label(of index: Int) -> Int { Int(record(index)[layout.headerBytes - 1]) }

    /// The planes of an image, `[3, height, width]` bytes; valid as long as the set lives.
    ///
    /// - Precondition: `0 ≤ index < count`.
    public func pixels(of index: Int) -> UnsafePointer<UInt8> { record(index) + layout.headerBytes }

    /// Checks the labels of one share of the images, so that each rank need look at its own share only.
    ///
    /// - Throws: `Failure(.data)` naming file, record (from 0), byte offset in the file, value and range of the first bad label.
    public func validateLabels(part: Int, of parts: Int) throws {
        for index in share(part, of: parts, in: count) where label(of: index) >= classes {
            let (segment, position) = locate(index)
            let byte = position * layout.recordBytes + layout.headerBytes - 1
            throw Failure(
                .data,
                "\(segments[segment].name): record \(position) (byte \(byte)) has label \(label(of: index)), "
                    + "expected 0 to \(classes - 1); the file is damaged, fetch it again")
        }
    }

    /// The files that the images come from, each with the bytes of the records in use; valid as long as the set lives.
    public var files: [(path: String, bytes: UnsafeRawBufferPointer)] {
        var rest = count
        return segments.map { segment in
            let used = min(segment.count, rest)
            rest -= used
            return (segment.name, UnsafeRawBufferPointer(start: segment.base, count: used * layout.recordBytes))
        }
    }

    private func record(_ index: Int) -> UnsafePointer<UInt8> {
        let (segment, position) = locate(index)
        return segments[segment].base + position * layout.recordBytes
    }

    /// The segment that holds an image and its position there. CIFAR-10 has five segments, so a search from the front will do.
    private func locate(_ index: Int) -> (segment: Int, position: Int) {
        precondition(index >= 0 && index < count, "there is no image \(index) in a set of \(count)")
        var segment = 0
        var position = index
        while position >= segments[segment].count {
            position -= segments[segment].count
            segment += 1
        }
        return (segment, position)
    }
}
