import DenseNetModel
@preconcurrency import Glibc
import ImageData
import Pictures
import Safetensors
import Support

/// What this program makes of a folder of pictures, for a comparison with torchvision:
/// `PictureTestProgram DATA EDGE SIZE OUT [WEIGHTS]`.
///
/// OUT gets `list.txt`, the training pictures with their labels in order; `framed.bin`, each with its shorter edge
/// resized and its middle kept; `parts.bin`, a part of each resized, and `parts.txt`, which part. With weights also
/// `logits.bin` of the framed ones.
@main
struct Program {
    static func main() {
        do {
            let arguments = Array(CommandLine.arguments.dropFirst())
            guard arguments.count >= 4, let edge = Int(arguments[1]), let size = Int(arguments[2]) else {
                throw Failure(.usage, "expected DATA EDGE SIZE OUT [WEIGHTS]")
            }
            let listing = try PictureListing(folder: arguments[0], table: nil, split: nil)
            let output = Output(listing, framing: ImageFraming(edge: edge, size: size), folder: arguments[3])
            try output.writeImages()
            if arguments.count > 4 { try output.writeLogits(weights: arguments[4]) }
        } catch {
            fputs("\(error)\n", stderr)
            exit(Failure.Kind.internal.rawValue)
        }
    }
}

private struct Output {
    let files: PictureFiles
    let images: ImageSet
    let folder: String

    init(_ listing: PictureListing, framing: ImageFraming, folder: String) {
        files = listing.train
        images = ImageSet(pictures: listing.train, classNames: listing.classNames, framing: framing)
        self.folder = folder
    }

    private var pixelCount: Int { 3 * images.height * images.width }

    func writeImages() throws {
        let reader = ImageReader(images)
        var (framed, parts): ([UInt8], [UInt8]) = ([], [])
        var (list, boxes) = ("", "")
        var pixels = [UInt8](repeating: 0, count: pixelCount)
        for index in 0..<images.count {
            try pixels.withUnsafeMutableBufferPointer { _ = try reader.read(index, into: $0.baseAddress!) }
            framed += pixels
            var random = CounterRandom(.augmentation, UInt64(index))
            try pixels.withUnsafeMutableBufferPointer { pixels in
                _ = try reader.read(index, into: pixels.baseAddress!) { height, width in
                    let box = RandomPart().box(height: height, width: width, &random)
                    boxes += "\(box.top) \(box.left) \(box.height) \(box.width)\n"
                    return box
                }
            }
            parts += pixels
            list += "\(files.files[index].label) \(files.files[index].path)\n"
        }
        try AtomicFile.write(framed, to: folder + "/framed.bin")
        try AtomicFile.write(parts, to: folder + "/parts.bin")
        try AtomicFile.write(list.utf8, to: folder + "/list.txt")
        try AtomicFile.write(boxes.utf8, to: folder + "/parts.txt")
    }

    func writeLogits(weights path: String) throws {
        let file = try SafetensorsFile(path: path)
        let normalization = try Normalization(metadata: file.metadata, path: path) ?? .none
        let network = try WeightsFile.network(from: path, capacity: images.count, threads: 2)
        var input: [Float] = []
        for index in 0..<images.count {
            let pixels = try images.image(index).pixels
            input += try normalization.normalized(pixels.span, height: images.height, width: images.width)
        }
        try input.withUnsafeBufferPointer { _ = try network.evaluate($0.baseAddress!, count: images.count) }
        try network.logits.withMemoryRebound(to: Float.self) {
            try AtomicFile.write(Array(UnsafeRawBufferPointer($0)), to: folder + "/logits.bin")
        }
    }
}
