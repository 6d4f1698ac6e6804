import Support

/// A group of images with `interleave` zero lanes on each side and a row of zeros above and below: the input of a 3×3
/// convolution.
///
/// Shape [height + 2][channels][lanes + 2·interleave]. The tap (y, x) of an output row is a shift by y rows and
/// x·interleave lanes.
package struct PaddedGroup {
    package struct Shape: Equatable, Sendable {
        /// Channels, or pairs of them.
        package let channels: Int
        package let layout: PanelLayout

        package init(channels: Int, layout: PanelLayout) {
            self.channels = channels
            self.layout = layout
        }

        /// Elements from one channel to the next.
        package var stride: Int { layout.lanes + 2 * layout.interleave }
        /// Elements from one row to the next, a multiple of a vector's 16 floats.
        package var rowStride: Int { (channels * stride + 15) / 16 * 16 }
        package var count: Int { (layout.height + 2) * rowStride }

        /// The offsets of the nine taps from `tap(0, 0, row: y)`, the same for every row.
        package func writeTapOffsets(to offsets: UnsafeMutablePointer<Int>) {
            for tap in 0..<9 { offsets[tap] = tap / 3 * rowStride + tap % 3 * layout.interleave }
        }
    }

    private let start: UnsafeMutablePointer<Float>
    private let interleave: Int
    private let count: Int
    /// Elements from one channel to the next.
    package let stride: Int
    /// Elements from one row to the next.
    package let rowStride: Int

    package init(_ shape: Shape, in buffer: AlignedBuffer<Float>) {
        precondition(buffer.count >= shape.count, "the group does not fit its buffer")
        start = buffer.pointer
        interleave = shape.layout.interleave
        count = shape.count
        stride = shape.stride
        rowStride = shape.rowStride
    }

    /// Zeroes everything; the borders are never written afterwards.
    package func clear() { start.update(repeating: 0, count: count) }

    /// Row `y` without its borders: `channels` rows of `lanes` elements, `stride` apart.
    package func interior(_ y: Int) -> UnsafeMutablePointer<Float> { start + (y + 1) * rowStride + interleave }

    /// Where the tap at row `tapY`, column `tapX` (0...2) of output row `y` starts.
    package func tap(_ tapY: Int, _ tapX: Int, row y: Int) -> UnsafeMutablePointer<Float> {
        start + (y + tapY) * rowStride + tapX * interleave
    }
}
