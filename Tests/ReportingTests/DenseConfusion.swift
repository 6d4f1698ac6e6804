import Training

extension Evaluation {
    /// - Parameter matrix: shape [classes][classes], images by class and guess.
    init(loss: Double, matrix: [Int], total: [Int], mistakes: [Mistake]) {
        let cells = matrix.enumerated().filter { $0.element > 0 }.map {
            Cell(truth: $0.offset / total.count, guess: $0.offset % total.count, images: $0.element)
        }
        self.init(loss: loss, confusion: cells, total: total, mistakes: mistakes)
    }
}
