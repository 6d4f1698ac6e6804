import Glibc
import Pictures
import Support
import SystemPackage

/// The pictures of a set in one file, decoded and with their shorter edge resized: reading one takes no decoder. The
/// processes of a host share the system's copy of it. Thread-safe once it is written.
package final class PictureCache: Sendable {
    /// Where each picture is in the file, and how large; follows from the sizes of the originals.
    package struct Plan: Sendable {
        /// Of all pictures, 1 or 3.
        let channels: Int
        /// Of each picture as it is kept.
        let sizes: [(height: Int, width: Int)]
        /// Of each picture, and the end of the last.
        let offsets: [Int]
        /// Bytes of the file.
        package var size: Int { offsets[offsets.count - 1] }

        /// - Parameter framing: its shorter edge is that of the pictures; those that are smaller are enlarged.
        package init(_ facts: [PictureFacts], framing: ImageFraming) {
            channels = framing.channels
            sizes = facts.map { framing.resized(height: $0.height, width: $0.width) }
            var end = 0
            offsets =
                sizes.map { size in
                    defer { end += framing.channels * size.height * size.width }
                    return end
                } + [end]
        }
    }

    private let plan: Plan
    private let descriptor: FileDescriptor
    private let path: String

    /// Opens a file.
    ///
    /// - Parameter isNew: whether it is to be made and to be written to, by this process or another; else it is whole.
    /// - Throws: `Failure(.unavailable)` if the system refuses; `Failure(.data)` if a whole one has another size than
    ///   planned.
    package init(path: String, _ plan: Plan, isNew: Bool) throws {
        (self.plan, self.path) = (plan, path)
        descriptor = try explainingErrors("cannot open", path) {
            try FileDescriptor.open(
                path, isNew ? .readWrite : .readOnly, options: isNew ? [.create, .closeOnExec] : .closeOnExec,
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
        }
        guard !isNew else { return }
        let size = try explainingErrors("cannot read", path) { try descriptor.seek(offset: 0, from: .end) }
        guard size == plan.size else {
            throw Failure(.data, "\(path): has \(size) bytes, expected \(plan.size); remove it")
        }
    }

    deinit { try? descriptor.close() }

    /// A name for the file of a set: another for other pictures, times of change or sizes.
    package static func name(of files: PictureFiles, framing: ImageFraming) -> String {
        let list = files.files.map { "\($0.path)\n\($0.size) \($0.modified)\n" }.joined()
        let key = pathHash("\(files.root)\n\(framing.edge)\n\(framing.channels)\n\(list)")
        return "pictures-\(String(key, radix: 16).paddedWithZeros(to: 16)).cache"
    }

    /// Takes the space of the whole file.
    ///
    /// - Throws: `Failure(.unavailable)` if there is not enough.
    package func reserve() throws {
        let code = posix_fallocate(descriptor.rawValue, 0, off_t(plan.size))
        guard code == 0 else {
            throw Failure.system("cannot take \(plan.size) bytes for", path, Errno(rawValue: code))
        }
    }

    /// Decodes, resizes and writes some pictures.
    ///
    /// - Throws: as `PictureFiles.picture`; `Failure(.unavailable)` if the file cannot be written.
    package func write(_ indices: some Sequence<Int>, of files: PictureFiles) throws {
        let resizer = PictureResizer()
        for index in indices {
            let (height, width) = plan.sizes[index]
            let picture = try files.picture(index, channels: plan.channels)
            var bytes = [UInt8](repeating: 0, count: plan.channels * height * width)
            bytes.withUnsafeMutableBufferPointer { bytes in
                picture.planes.withUnsafeBufferPointer { planes in
                    resizer.resize(
                        PixelBox(height: picture.height, width: picture.width),
                        of: PixelPlanes(
                            planes.baseAddress!, channels: plan.channels, height: picture.height,
                            width: picture.width),
                        toHeight: height, width: width, keeping: PixelBox(height: height, width: width),
                        into: bytes.baseAddress!)
                }
            }
            _ = try explainingErrors("cannot write", path) {
                try bytes.withUnsafeBytes { bytes in
                    try descriptor.writeAll(toAbsoluteOffset: Int64(plan.offsets[index]), bytes)
                }
            }
        }
    }

    /// Returns once everything written is on the disk.
    ///
    /// - Throws: `Failure(.unavailable)` if the system refuses.
    package func synchronize() throws {
        try explainingErrors("cannot write", path) { try descriptor.synchronize() }
    }

    /// Height and width of a picture as it is kept.
    func size(of index: Int) -> (height: Int, width: Int) { plan.sizes[index] }

    /// Bytes of the largest picture.
    var largest: Int { plan.sizes.reduce(0) { max($0, plan.channels * $1.height * $1.width) } }

    /// - Parameter result: shape [channels][height][width] of that picture.
    /// - Throws: `Failure(.data)` if the file has become shorter, `Failure(.noInput)` if the system refuses.
    func read(_ index: Int, into result: UnsafeMutablePointer<UInt8>) throws(Failure) {
        let count = plan.offsets[index + 1] - plan.offsets[index]
        try descriptor.fill(
            UnsafeMutableRawBufferPointer(start: result, count: count), at: plan.offsets[index], of: plan.size,
            in: path)
    }
}
