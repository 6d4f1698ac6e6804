import Pictures
import Training

extension Evaluation {
    /// The confusion matrix as a picture: a row for each class, a column for each guess, the darker the larger the
    /// share of the class.
    ///
    /// - Parameter edge: the picture's height and width in pixels at most, but one pixel for each class at least.
    package func confusionPicture(edge: Int = 320) -> Picture {
        let classes = total.count
        let shares = (0..<classes * classes).map { cell in
            Double(confusion[cell]) / Double(max(total[cell / classes], 1))
        }
        // From white to a dark blue.
        let dark = [8.0, 48, 107]
        let planes = dark.flatMap { colour in shares.map { UInt8(255 - $0 * (255 - colour)) } }
        let cells = Picture(height: classes, width: classes, planes: planes)
        return Picture(sheet: [cells], columns: 1, gap: 0, scale: max(edge / classes, 1))
    }
}
