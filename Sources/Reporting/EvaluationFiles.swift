import FoundationEssentials
import ImageData
import Pictures
import Support
import Training

/// An evaluation as files for other programs and for people: `confusion.csv`, `mistakes.csv` and `mistakes.png`.
package enum EvaluationFiles {
    /// Pictures in the sheet of mistakes at most.
    private static let pictureLimit = 40
    /// Classes in a table at most.
    private static let tableLimit = 1_000
    /// Smaller pictures are enlarged to about this edge, in pixels.
    private static let pictureEdge = 96

    /// Writes the files into a folder, which is made where it is missing; each atomically, over an older one. Without a
    /// mistake there is no `mistakes.png`.
    ///
    /// - Parameters:
    ///   - evaluation: with all its mistakes.
    ///   - images: the set that was evaluated.
    /// - Throws: `Failure(.unavailable)` when the system refuses; as `ImageSet.image`.
    package static func write(
        _ evaluation: Evaluation, of images: ImageSet, names: ClassNames, to folder: String
    ) throws {
        try FileSystem.makeFolderAndParents(folder)
        try AtomicFile.write(Array(confusion(evaluation, names).utf8), to: folder + "/confusion.csv")
        try AtomicFile.write(Array(mistakes(evaluation, of: images, names).utf8), to: folder + "/mistakes.csv")
        let sheet = folder + "/mistakes.png"
        let shown = evaluation.mistakes.prefix(pictureLimit)
        guard !shown.isEmpty else { return FileSystem.remove(sheet) }
        let pictures = try shown.map { try images.picture(of: $0) }
        let scale = max(pictureEdge / max(images.height, images.width), 1)
        try AtomicFile.write(Picture(sheet: pictures, columns: 8, gap: 4, scale: scale).png, to: sheet)
    }

    /// A line for each class: its name, then how many of its images are taken for each class. Of more classes than a
    /// table may have, a line for each cell that has images.
    private static func confusion(_ evaluation: Evaluation, _ names: ClassNames) -> String {
        let classes = evaluation.total.indices
        guard classes.count <= tableLimit else {
            return evaluation.confusion.reduce(into: csvLine(["truth", "guess", "images"])) { text, cell in
                text += csvLine([names[cell.truth], names[cell.guess], "\(cell.images)"])
            }
        }
        var rest = evaluation.confusion[...]
        return classes.reduce(into: csvLine(["truth"] + classes.map { names[$0] })) { text, truth in
            var row = [Int](repeating: 0, count: classes.count)
            while let cell = rest.first, cell.truth == truth {
                row[cell.guess] = cell.images
                rest.removeFirst()
            }
            text += csvLine([names[truth]] + row.map { "\($0)" })
        }
    }

    /// A line for each mistake, the most confident first; of pictures with their files.
    private static func mistakes(_ evaluation: Evaluation, of images: ImageSet, _ names: ClassNames) -> String {
        let header = ["index", "truth", "guess", "probability"] + (images.arePictures ? ["file"] : [])
        return evaluation.mistakes.reduce(into: csvLine(header)) { text, mistake in
            let fields = [
                "\(mistake.index)", names[mistake.truth], names[mistake.guess], "\(mistake.probability)",
            ]
            text += csvLine(fields + (images.path(of: mistake.index).map { [$0] } ?? []))
        }
    }

    private static func csvLine(_ fields: [String]) -> String { fields.map(csvField).joined(separator: ",") + "\n" }
}

/// A field as RFC 4180 has it.
package func csvField(_ text: String) -> String {
    guard text.contains(where: { ",\"\n\r\r\n".contains($0) }) else { return text }
    return "\"" + text.replacing("\"", with: "\"\"") + "\""
}
