import Pictures
import Support

/// Reads images of a set in the size that they are to have. It keeps its memory from image to image; one thread at a
/// time may use it.
package final class ImageReader {
    private let images: ImageSet
    /// A record, with its header, or a picture of a cache.
    private let record: AlignedBuffer<UInt8>
    private let resizer = PictureResizer()

    package init(_ images: ImageSet) {
        self.images = images
        switch images.storage {
        case .records(let records): record = AlignedBuffer(count: records.layout.recordBytes)
        case .pictures(let pictures): record = AlignedBuffer(count: pictures.cache?.largest ?? 0)
        }
    }

    /// An image as the set frames it, or a part of it in the same size.
    ///
    /// - Parameters:
    ///   - result: shape [3][images.height][images.width].
    ///   - part: the part of an image of a height and width; nil for the framing's.
    /// - Returns: the label, in `0..<images.classes`.
    /// - Throws: `Failure(.data)` for a damaged image, naming its file; `Failure(.noInput)` if the system refuses to
    ///   read it.
    /// - Precondition: `0 ≤ index < images.count`.
    package func read(
        _ index: Int, into result: UnsafeMutablePointer<UInt8>,
        part: (_ height: Int, _ width: Int) -> PixelBox? = { _, _ in nil }
    ) throws(Failure) -> Int {
        try withImage(index) { image in
            if let part = part(image.height, image.width) {
                resizer.resize(
                    part, of: image, toHeight: images.height, width: images.width,
                    keeping: PixelBox(height: images.height, width: images.width), into: result)
            } else if let framing = images.framing {
                framing.apply(to: image, by: resizer, into: result)
            } else {
                result.update(from: image.pointer, count: images.pixelBytes)
            }
        }
    }

    /// Calls `body` with an image as it is stored.
    ///
    /// - Returns: the label.
    private func withImage(_ index: Int, _ body: (PixelPlanes) -> Void) throws(Failure) -> Int {
        precondition(index >= 0 && index < images.count, "there is no image \(index) in a set of \(images.count)")
        switch images.storage {
        case .records(let records):
            let label = try records.read(index, into: record.pointer)
            let layout = records.layout
            body(PixelPlanes(record.pointer + layout.headerBytes, height: layout.height, width: layout.width))
            return label
        case .pictures(let pictures):
            if let cache = pictures.cache {
                try cache.read(index, into: record.pointer)
                let size = cache.size(of: index)
                body(PixelPlanes(record.pointer, height: size.height, width: size.width))
                return pictures.files[index].label
            }
            let picture = try pictures.picture(index)
            picture.planes.withUnsafeBufferPointer { planes in
                body(PixelPlanes(planes.baseAddress!, height: picture.height, width: picture.width))
            }
            return pictures.files[index].label
        }
    }
}
