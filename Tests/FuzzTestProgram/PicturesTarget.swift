import ImageData
import Pictures
import Support

/// Picture files as training reads them: decoded and resized.
struct PicturesTarget: Target {
    let kinds: Set<Failure.Kind> = [.data]
    private static let folder =
        #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined() + "/PicturesTests/Fixtures"
    private static let names = [
        "rgb.png", "420.jpeg", "palette-transparent.png", "progressive.jpeg", "rgb-interlaced.png", "grey.jpeg",
        "grey-1-bit.png", "444.jpeg", "rgba.png", "cmyk.jpeg", "rgb-16-bit.png", "grey-16-bit.png",
    ]
    private let originals: [[UInt8]]
    private let resizer = PictureResizer()

    init() throws { originals = try Self.names.map { try contents(of: "\(Self.folder)/\($0)") } }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        // The first cases cut a file at each position.
        var bytes = originals[mutator.number % originals.count]
        if mutator.number > 0 {
            mutator.damage(&bytes)
            // A header that claims another size.
            if mutator.below(4) == 0, bytes.count > 24 { bytes[16 + mutator.below(8)] = UInt8(mutator.below(256)) }
        }
        let channels = mutator.below(2) == 0 ? 1 : 3
        let picture = try Picture(bytes, path: "f", channels: channels) { _, _ in 1 << mutator.below(4) }
        precondition(picture.planes.count == channels * picture.height * picture.width)
        _ = picture.framed(ImageFraming(edge: 9, size: 8, channels: channels), by: resizer)
    }
}

/// A list of pictures as `--list` reads it.
struct PictureTableTarget: Target {
    let kinds: Set<Failure.Kind> = [.data, .usage]
    private let folder: String
    private let original = Array(
        "path,label,split\na/1.png,cat,train\n\"a,b.png\",\"the \"\"dog\"\"\",train\na/2.png,cat,test\n".utf8)

    init(_ folder: String) throws { self.folder = folder }

    func run(_ mutator: Mutator) throws {
        var (mutator, bytes) = (mutator, original)
        if mutator.number > 0 { mutator.damage(&bytes) }
        let path = folder + (mutator.number % 3 == 1 ? "/list.tsv" : "/list.csv")
        write(bytes, to: path)
        let listing = try PictureListing(
            folder: folder, table: path, split: mutator.number % 2 == 0 ? .init(share: 0.3, seed: 1) : nil)
        for files in [listing.train, listing.test] {
            precondition(files.files.allSatisfy { listing.classNames.indices.contains($0.label) })
        }
    }
}
