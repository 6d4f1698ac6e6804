import Pictures
import Support

/// Reads images of a set in the size that they are to have. It keeps its memory from image to image; one thread at a
/// time may use it.
package final class ImageReader {
    private let images: ImageSet
    /// A record, with its header, or a picture of a cache.
    private let record: AlignedBuffer<UInt8>
    /// Of a record in colour, where the images are grey.
    private var grey: [UInt8] = []
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
    ///   - result: shape [channels][images.height][images.width].
    ///   - part: the part of an image of a height and width; nil for the framing's. A part of a JPEG file that is more
    ///     than twice as large as the result is taken from a picture that is decoded smaller, which differs a little.
    /// - Returns: the label, in `0..<images.classes`.
    /// - Throws: `Failure(.data)` for a damaged image, naming its file; `Failure(.noInput)` if the system refuses to
    ///   read it.
    /// - Precondition: `0 ≤ index < images.count`.
    package func read(
        _ index: Int, into result: UnsafeMutablePointer<UInt8>,
        part: (_ height: Int, _ width: Int) -> PixelBox? = { _, _ in nil }
    ) throws(Failure) -> Int {
        try withImage(index, part) { image, part in
            if let part {
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

    /// Calls `body` with an image, decoded, and the part of it that is wanted.
    ///
    /// - Returns: the label.
    private func withImage(
        _ index: Int, _ part: (_ height: Int, _ width: Int) -> PixelBox?, _ body: (PixelPlanes, PixelBox?) -> Void
    ) throws(Failure) -> Int {
        func use(_ planes: PixelPlanes) { body(planes, part(planes.height, planes.width)) }
        precondition(index >= 0 && index < images.count, "there is no image \(index) in a set of \(images.count)")
        switch images.storage {
        case .records(let records):
            let label = try records.read(index, into: record.pointer)
            let layout = records.layout
            let planes = PixelPlanes(
                record.pointer + layout.headerBytes, channels: ImageSet.Layout.channels, height: layout.height,
                width: layout.width)
            if images.channels == 1 { withGrey(of: planes, use) } else { use(planes) }
            return label
        case .pictures(let pictures):
            if let cache = pictures.cache {
                try cache.read(index, into: record.pointer)
                let size = cache.size(of: index)
                use(
                    PixelPlanes(record.pointer, channels: images.channels, height: size.height, width: size.width))
                return pictures.files[index].label
            }
            try withPicture(index, of: pictures, part, body)
            return pictures.files[index].label
        }
    }

    /// The same for a picture that is not decoded yet.
    private func withPicture(
        _ index: Int, of pictures: PictureFiles, _ part: (_ height: Int, _ width: Int) -> PixelBox?,
        _ body: (PixelPlanes, PixelBox?) -> Void
    ) throws(Failure) {
        var shrunk: PixelBox?
        let picture = try pictures.picture(index, channels: images.channels) { height, width in
            guard let part = part(height, width) else { return 1 }
            let shrinkage = part.shrinkage(toHeight: images.height, width: images.width)
            shrunk = part.shrunk(by: shrinkage, height: height, width: width)
            return shrinkage
        }
        picture.planes.withUnsafeBufferPointer { planes in
            body(
                PixelPlanes(
                    planes.baseAddress!, channels: picture.channels, height: picture.height, width: picture.width),
                shrunk ?? part(picture.height, picture.width))
        }
    }

    private func withGrey(of planes: PixelPlanes, _ body: (PixelPlanes) -> Void) {
        if grey.isEmpty { grey = [UInt8](repeating: 0, count: planes.height * planes.width) }
        grey.withUnsafeMutableBufferPointer { grey in
            planes.writeGrey(into: grey.baseAddress!)
            body(PixelPlanes(grey.baseAddress!, channels: 1, height: planes.height, width: planes.width))
        }
    }
}
