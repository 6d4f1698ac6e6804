import Pictures
import Testing

@testable import Reporting
@testable import Training

@Suite struct ConfusionPictureTests {
    @Test func `a cell is as dark as the share of its class`() {
        let evaluation = Evaluation(loss: 1, matrix: [4, 0, 5, 5], total: [4, 10], mistakes: [])
        let picture = evaluation.confusionPicture(edge: 2)
        #expect(picture.height == 2 && picture.width == 2)
        #expect(Array(picture.planes[..<4]) == [8, 255, 131, 131])
        let large = evaluation.confusionPicture(edge: 7)
        #expect(large.height == 6 && large.planes[2] == 8 && large.planes[3] == 255)
    }

    @Test func `neighbours share a pixel where there are more classes than pixels`() {
        let classes = 1_000_000
        let cells = [Evaluation.Cell(truth: 0, guess: classes - 1, images: 3)]
        let total = (0..<classes).map { $0 == 0 ? 3 : 0 }
        let picture = Evaluation(loss: 1, confusion: cells, total: total, mistakes: []).confusionPicture(edge: 100)
        #expect(picture.height == 100 && picture.width == 100)
        #expect(picture.planes.indices.filter { picture.planes[$0] < 255 } == [99, 10_099, 20_099])
    }
}
