import Pictures
import Testing

@testable import Reporting
@testable import Training

@Suite struct ConfusionPictureTests {
    @Test func `a cell is as dark as the share of its class`() {
        let evaluation = Evaluation(loss: 1, confusion: [4, 0, 5, 5], total: [4, 10], mistakes: [])
        let picture = evaluation.confusionPicture(edge: 2)
        #expect(picture.height == 2 && picture.width == 2)
        #expect(Array(picture.planes[..<4]) == [8, 255, 131, 131])
        let large = evaluation.confusionPicture(edge: 7)
        #expect(large.height == 6 && large.planes[2] == 8 && large.planes[3] == 255)
    }
}
