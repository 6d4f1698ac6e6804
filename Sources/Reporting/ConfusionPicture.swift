import Pictures
import Training

extension Evaluation {
    /// The confusion matrix as a picture: a row for each class, a column for each guess, the darker the larger the
    /// share of the class.
    ///
    /// - Parameter edge: the picture's height and width in pixels at most. Of more classes, neighbours share a pixel.
    package func confusionPicture(edge: Int = 320) -> Picture {
        let cells = min(total.count, edge)
        func place(_ label: Int) -> Int { label * cells / total.count }
        var images = [Int](repeating: 0, count: cells)
        for (label, count) in total.enumerated() { images[place(label)] += count }
        var counts = [Int](repeating: 0, count: cells * cells)
        for cell in confusion { counts[place(cell.truth) * cells + place(cell.guess)] += cell.images }
        let shares = counts.enumerated().map { Double($0.element) / Double(max(images[$0.offset / cells], 1)) }
        // From white to a dark blue.
        let dark = [8.0, 48, 107]
        let planes = dark.flatMap { colour in shares.map { UInt8(255 - min($0, 1) * (255 - colour)) } }
        return Picture(
            sheet: [Picture(height: cells, width: cells, planes: planes)], columns: 1, gap: 0, scale: edge / cells)
    }
}
