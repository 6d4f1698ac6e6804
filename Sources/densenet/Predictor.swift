import DataParallel
import DenseNetModel
import FoundationEssentials
import ImageData
import Pictures
import Support
import Training

/// What the command line names: PNG and JPEG files are one picture each, `.bin` files one per record.
struct PictureList {
    struct Element {
        let path: String
        /// In a `.bin` file, counted from 0.
        let record: Int?
    }

    private let paths: [String]
    /// The number of pictures up to the end of each file.
    private let ends: [Int]
    /// Of the network, for `.bin` files.
    let classes: Int

    var count: Int { ends.last ?? 0 }

    /// Collective: rank zero looks how many records the files have. A file that cannot be read counts as one picture.
    init(_ paths: [String], classes: Int, communicator: Communicator) throws {
        communicator.progress.enter("list of pictures", mayTakeLong: true)
        var counts = [Int64](repeating: 1, count: paths.count)
        if communicator.rank == 0 {
            for (index, path) in paths.enumerated() where Self.hasRecords(path) {
                if let records = try? CIFARRecords(path: path, classes: classes) {
                    counts[index] = Int64(records.count)
                }
            }
        }
        var end = 0
        ends = try communicator.broadcast(counts, from: 0).map { count in
            end += Int(count)
            return end
        }
        self.paths = paths
        self.classes = classes
    }

    subscript(index: Int) -> Element {
        // The first file that ends behind the picture.
        var (low, high) = (0, ends.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if ends[middle] > index { high = middle } else { low = middle + 1 }
        }
        let path = paths[low]
        return Element(path: path, record: Self.hasRecords(path) ? index - (low == 0 ? 0 : ends[low - 1]) : nil)
    }

    private static func hasRecords(_ path: String) -> Bool { path.lowercased().hasSuffix(".bin") }
}

/// What comes of one picture: logits, or a line that says why there are none.
struct PredictionAnswer: Codable {
    var logits: [Float] = []
    var failure: String?

    /// As bytes for another rank.
    static func encode(_ answers: [PredictionAnswer]) throws -> [UInt8] { Array(try JSONEncoder().encode(answers)) }

    static func decode(_ bytes: [UInt8]) throws -> [PredictionAnswer] {
        try JSONDecoder().decode([PredictionAnswer].self, from: Data(bytes))
    }
}

/// Reads pictures as a network wants them, and asks it.
final class Predictor {
    let network: DenseNet
    private let normalization: Normalization
    /// The pictures of one pass, shape [capacity][channels][image][image].
    private let input: AlignedBuffer<Float>
    private let resizer = PictureResizer()
    /// The file of records that was read last.
    private var records: (path: String, file: CIFARRecords)?

    private var pixels: Int { network.configuration.imageCount }

    /// - Precondition: the normalization fits the network's images.
    init(_ network: DenseNet, _ normalization: Normalization) {
        self.network = network
        self.normalization = normalization
        input = AlignedBuffer(count: network.capacity * network.configuration.imageCount)
    }

    /// The answers for pictures of a list, in their order. Not collective.
    ///
    /// - Precondition: they fit one pass of the network.
    /// - Throws: what is no fault of a picture.
    func answers(_ indices: [Int], of list: PictureList) throws -> [PredictionAnswer] {
        var answers = [PredictionAnswer](repeating: PredictionAnswer(), count: indices.count)
        var loaded: [Int] = []
        for (place, index) in indices.enumerated() {
            do {
                try load(list[index], classes: list.classes, into: input.pointer + loaded.count * pixels)
                loaded.append(place)
            } catch let failure as Failure where [.data, .noInput].contains(failure.kind) {
                answers[place].failure = failure.message
            }
        }
        guard !loaded.isEmpty else { return answers }
        _ = try network.evaluate(input.pointer, count: loaded.count)
        let classes = network.configuration.classes
        for (row, place) in loaded.enumerated() {
            let logits = network.logits[row * classes..<(row + 1) * classes]
            if logits.allSatisfy(\.isFinite) {
                answers[place].logits = Array(logits)
            } else {
                answers[place].failure =
                    "\(list[indices[place]].path): the network's output is not finite; its weights are damaged"
            }
        }
        return answers
    }

    private func load(
        _ element: PictureList.Element, classes: Int, into destination: UnsafeMutablePointer<Float>
    ) throws {
        let edge = network.configuration.image
        let framing = network.configuration.framing(ofPictures: element.record == nil)
        let planes = ImagePlanes(destination, channels: framing.channels, height: edge, width: edge)
        planes.load(try picture(element, classes: classes).framed(framing, by: resizer))
        normalization.apply(to: planes)
    }

    private func picture(_ element: PictureList.Element, classes: Int) throws -> Picture {
        let channels = network.configuration.imageChannels
        guard let record = element.record else { return try Picture(path: element.path, channels: channels) }
        let file: CIFARRecords
        if let records, records.path == element.path {
            file = records.file
        } else {
            file = try CIFARRecords(path: element.path, classes: classes)
            records = (element.path, file)
        }
        guard record < file.count else {
            throw Failure(.data, "\(element.path): has become shorter while it was read")
        }
        let colour = Picture(
            height: CIFARRecords.imageSize, width: CIFARRecords.imageSize, planes: try file.pixels(of: record))
        return channels == 1 ? colour.grey : colour
    }
}
