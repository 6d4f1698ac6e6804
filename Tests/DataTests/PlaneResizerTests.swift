import Testing

@testable import ImageData
@testable import Pictures

/// The resizing of colour planes. `PicturesTests` holds it against Pillow's numbers.
@Suite struct PlaneResizerTests {
    @Test func `the filter for half the size is a triangle over four elements`() {
        // At the ends three are left, and their weights sum to 1 again.
        let filter = TriangleFilter(from: 8, to: 4)
        func weights(_ index: Int) -> [Float] { Array(filter.weights[filter.taps[index].weights]) }
        #expect(filter.taps.map(\.first) == [0, 1, 3, 5])
        let (near, far): (Float, Float) = (0.375, 0.125)
        #expect(weights(1) == [far, near, near, far] && weights(2) == [far, near, near, far])
        let ends: [Float] = [3 / 7, 3 / 7, 1 / 7]
        #expect(zip(weights(0), ends).allSatisfy { abs($0 - $1) < 1e-6 })
        #expect(zip(weights(3).reversed(), ends).allSatisfy { abs($0 - $1) < 1e-6 })
    }

    /// As `torch.nn.functional.interpolate(mode="bilinear", antialias=True)` defines it, pixel by pixel in float64:
    /// each is the mean of all pixels of the image, weighted by a triangle around its centre in both directions, whose
    /// radius is the scale, or 1 where the image grows.
    private func reference(_ image: TestImage, _ newHeight: Int, _ newWidth: Int) -> [Float] {
        func weight(_ source: Int, of count: Int, for index: Int, of newCount: Int) -> Double {
            let scale = Double(count) / Double(newCount)
            return max(0, 1 - abs(Double(source) + 0.5 - (Double(index) + 0.5) * scale) / max(scale, 1))
        }
        let (height, width) = (image.planes.height, image.planes.width)
        return (0..<3 * newHeight * newWidth).map { position in
            let (channel, y, x) = (
                position / (newHeight * newWidth), position / newWidth % newHeight, position % newWidth
            )
            var (sum, weights) = (0.0, 0.0)
            for row in 0..<height {
                for column in 0..<width {
                    let weight =
                        weight(row, of: height, for: y, of: newHeight)
                        * weight(column, of: width, for: x, of: newWidth)
                    sum += weight * Double(image[channel, row, column])
                    weights += weight
                }
            }
            return Float(sum / weights)
        }
    }

    @Test(arguments: [(32, 32, 16, 16), (32, 32, 24, 24), (9, 7, 4, 5), (8, 8, 3, 3), (5, 6, 1, 1), (6, 4, 11, 8)])
    func `each pixel is a mean weighted by a triangle around it`(
        _ height: Int, _ width: Int, _ newHeight: Int, _ newWidth: Int
    ) {
        let image = TestImage(height: height, width: width) { Float(($0 * 31 + $1 * 17 + $2 * 7) % 23) / 11 - 1 }
        let result = resized(image, height: newHeight, width: newWidth)
        expectClose(result.values, reference(image, newHeight, newWidth))
    }
}

/// An image in another size.
func resized(_ image: TestImage, height: Int, width: Int) -> TestImage {
    let result = TestImage(height: height, width: width) { _, _, _ in .nan }
    PlaneResizer(
        channels: 3, fromHeight: image.planes.height, width: image.planes.width, toHeight: height, width: width
    ).resize(image.planes, into: result.planes.pointer)
    return result
}
