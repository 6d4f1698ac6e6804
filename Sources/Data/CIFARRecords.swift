import Support

/// A file of CIFAR-10's or CIFAR-100's binary version, with any number of records, as images without labels.
package struct CIFARRecords: Sendable {
    /// The number of images.
    package let count: Int
    /// Height and width of an image in pixels.
    package static let imageSize = CIFAR.imageSize
    private let file: InputFile
    private let headerBytes: Int

    private static let pixelBytes = ImageSet.Layout.channels * imageSize * imageSize

    /// - Parameter classes: the number of classes of the network; it decides if the file's size matches both data sets.
    /// - Throws: `Failure(.noInput)` if the file cannot be read, `Failure(.data)` if its size matches neither data set.
    package init(path: String, classes: Int) throws {
        file = try InputFile(path: path)
        let size = file.size
        guard size > 0 else { throw Failure(.data, "\(path): empty file; fetch or write it again") }
        // CIFAR-100 has a coarse label before the fine one.
        let fitting = (classes > 10 ? [2, 1] : [1, 2]).filter { size.isMultiple(of: $0 + Self.pixelBytes) }
        guard let headerBytes = fitting.first else {
            throw Failure(
                .data,
                "\(path): \(size) bytes are not a whole number of records, of \(1 + Self.pixelBytes) bytes (CIFAR-10) or "
                    + "\(2 + Self.pixelBytes) (CIFAR-100); the file is truncated or has a different layout, fetch or write it again"
            )
        }
        self.headerBytes = headerBytes
        count = size / (headerBytes + Self.pixelBytes)
    }

    /// The pixels of a record, shape [3][imageSize][imageSize].
    ///
    /// - Throws: `Failure(.data)` if the file has become shorter, `Failure(.noInput)` if the system refuses.
    /// - Precondition: `0 ≤ index < count`.
    package func pixels(of index: Int) throws -> [UInt8] {
        precondition((0..<count).contains(index), "there is no record \(index) of \(count)")
        var pixels = [UInt8](repeating: 0, count: Self.pixelBytes)
        try pixels.withUnsafeMutableBytes {
            try file.read(into: $0, at: index * (headerBytes + Self.pixelBytes) + headerBytes)
        }
        return pixels
    }
}
