/// How each element of a shorter or longer line is made of a line's: a triangle as wide as the scale, so that nothing
/// is skipped where it shrinks.
///
/// The same weights as `torch.nn.functional.interpolate(mode="bilinear", antialias=True)` and Pillow's `BILINEAR`.
struct TriangleFilter {
    /// Each element's first source, and the weights of that and those behind it, which sum to 1.
    let taps: [(first: Int, weights: [Float])]

    /// - Precondition: both counts are above zero.
    init(from count: Int, to newCount: Int) {
        precondition(count > 0 && newCount > 0, "a line of \(count) elements has no \(newCount)")
        let scale = Double(count) / Double(newCount)
        let radius = max(scale, 1)
        taps = (0..<newCount).map { index in
            let centre = (Double(index) + 0.5) * scale
            let first = max(0, Int(centre - radius + 0.5))
            let end = min(count, Int(centre + radius + 0.5))
            let heights = (first..<end).map { max(0, 1 - abs((Double($0) + 0.5 - centre) / radius)) }
            let sum = heights.reduce(0, +)
            return (first, heights.map { Float($0 / sum) })
        }
    }
}

extension Picture {
    /// The whole picture in another size, proportions not kept, by an antialiased bilinear filter.
    ///
    /// - Returns: shape [3][height][width], of 0…255; not rounded, and the pixels themselves where the size is theirs.
    /// - Precondition: both edges are above zero.
    package func resized(height newHeight: Int, width newWidth: Int) -> [Float] {
        guard (newHeight, newWidth) != (height, width) else { return planes.map { Float($0) } }
        let vertical = TriangleFilter(from: height, to: newHeight)
        let horizontal = TriangleFilter(from: width, to: newWidth)
        var result = [Float](repeating: 0, count: 3 * newHeight * newWidth)
        planes.withUnsafeBufferPointer { planes in
            result.withUnsafeMutableBufferPointer { result in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { row in
                    for channel in 0..<3 {
                        for (y, tap) in vertical.taps.enumerated() {
                            row.initialize(repeating: 0)
                            for (offset, weight) in tap.weights.enumerated() {
                                let start = (channel * height + tap.first + offset) * width
                                for x in 0..<width { row[x] += weight * Float(planes[start + x]) }
                            }
                            let start = (channel * newHeight + y) * newWidth
                            for (x, tap) in horizontal.taps.enumerated() {
                                var sum: Float = 0
                                for (offset, weight) in tap.weights.enumerated() {
                                    sum += weight * row[tap.first + offset]
                                }
                                result[start + x] = sum
                            }
                        }
                    }
                }
            }
        }
        return result
    }
}
