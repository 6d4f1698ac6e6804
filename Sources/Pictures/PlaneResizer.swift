import Support

/// How each element of a shorter or longer line is made of a line's: a triangle as wide as the scale, so that nothing
/// is skipped where it shrinks.
///
/// The same weights as `torch.nn.functional.interpolate(mode="bilinear", antialias=True)` and Pillow's `BILINEAR`.
struct TriangleFilter {
    /// Each element's first source, and where in `weights` those of that source and the ones behind it are.
    let taps: [(first: Int, weights: Range<Int>)]
    /// Of all elements, one after the other; each element's sum to 1.
    let weights: [Float]

    /// - Precondition: both counts are above zero.
    init(from count: Int, to newCount: Int) {
        precondition(count > 0 && newCount > 0, "a line of \(count) elements has no \(newCount)")
        let scale = Double(count) / Double(newCount)
        let radius = max(scale, 1)
        var taps: [(first: Int, weights: Range<Int>)] = []
        var weights: [Float] = []
        for index in 0..<newCount {
            let centre = (Double(index) + 0.5) * scale
            let first = max(0, Int(centre - radius + 0.5))
            let end = min(count, Int(centre + radius + 0.5))
            let heights = (first..<end).map { max(0, 1 - abs((Double($0) + 0.5 - centre) / radius)) }
            let sum = heights.reduce(0, +)
            taps.append((first, weights.count..<weights.count + heights.count))
            weights += heights.map { Float($0 / sum) }
        }
        (self.taps, self.weights) = (taps, weights)
    }
}

/// Resizes the planes of an image, proportions not kept, by an antialiased bilinear filter: as Pillow's `BILINEAR`
/// and torchvision's `Resize` do.
///
/// `init` allocates all memory. One thread at a time may use it.
package final class PlaneResizer {
    private let channels, width, newWidth: Int
    private let vertical, horizontal: TriangleFilter
    /// A row of the source's width: the sum of those that make a row of the result.
    private let sum: AlignedBuffer<Float>

    /// - Precondition: all edges are above zero.
    package init(channels: Int, fromHeight height: Int, width: Int, toHeight newHeight: Int, width newWidth: Int) {
        vertical = TriangleFilter(from: height, to: newHeight)
        horizontal = TriangleFilter(from: width, to: newWidth)
        (self.channels, self.width, self.newWidth) = (channels, width, newWidth)
        sum = AlignedBuffer(count: width)
    }

    /// Allocates nothing.
    ///
    /// - Parameters:
    ///   - result: shape [channels][new height][new width]; not rounded.
    ///   - row: gives a row of a channel, as many floats as the source is wide; valid until it is asked for the next.
    package func resize(
        into result: UnsafeMutablePointer<Float>, row: (_ channel: Int, _ y: Int) -> UnsafePointer<Float>
    ) {
        let sum = sum.pointer
        var next = result
        for channel in 0..<channels {
            for tap in vertical.taps {
                sum.update(repeating: 0, count: width)
                for (offset, index) in tap.weights.enumerated() {
                    let (weight, source) = (vertical.weights[index], row(channel, tap.first + offset))
                    for x in 0..<width { sum[x] += weight * source[x] }
                }
                for (x, tap) in horizontal.taps.enumerated() {
                    var pixel: Float = 0
                    for (offset, index) in tap.weights.enumerated() {
                        pixel += horizontal.weights[index] * sum[tap.first + offset]
                    }
                    next[x] = pixel
                }
                next += newWidth
            }
        }
    }
}
