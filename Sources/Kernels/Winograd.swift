import CKernels

/// A 3×3 convolution four rows at a time by Winograd's minimal filtering F(4, 3) along the rows: half the multiplications.
///
/// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.
public struct RowWinograd {
    /// Output rows of a call.
    public static let rows = 4

    private let weights: UnsafeMutablePointer<Float>
    private let outputs: Int
    private let inputs: Int
    private let shape: PaddedGroup.Shape

    /// Floats of the packed weights.
    public static func weightCount(outputs: Int, inputs: Int) -> Int { 18 * outputs * inputs }

    /// Floats of a thread's scratch.
    public static func scratchCount(_ shape: PaddedGroup.Shape, outputs: Int) -> Int {
        6 * (shape.rowStride + outputs * shape.layout.lanes)
    }

    /// - Parameters:
    ///   - shape: that of the padded input.
    ///   - buffer: space for the packed weights, which others may share.
    public init(outputs: Int, input shape: PaddedGroup.Shape, in buffer: AlignedBuffer<Float>) {
        precondition(buffer.count >= Self.weightCount(outputs: outputs, inputs: shape.channels), "the weights do not fit their buffer")
        weights = buffer.pointer
        self.outputs = outputs
        inputs = shape.channels
        self.shape = shape
    }

    /// Packs weights of shape [outputs][inputs][3][3] for the convolution.
    public func packForward(_ source: UnsafePointer<Float>) {
        ck_pack_winograd(source, inputs * 9, 9, outputs, inputs, 0, weights)
    }

    /// Packs weights of shape [inputs][outputs][3][3] for the convolution that carries the gradient back.
    public func packBackward(_ source: UnsafePointer<Float>) {
        ck_pack_winograd(source, 9, outputs * 9, outputs, inputs, 1, weights)
    }

    /// Rows `y` to `y` + 3 of the convolution.
    ///
    /// - Parameters:
    ///   - output: row `y`, shape [outputs][lanes]; the next row is `rowPitch` floats on.
    ///   - scratch: `scratchCount` floats of the calling thread.
    ///   - next: memory that is read after this call, prefetched meanwhile: four runs of `nextCount` floats, `nextPitch` apart.
    public func convolve(
        _ padded: PaddedGroup, row y: Int, into output: UnsafeMutablePointer<Float>, rowPitch: Int, tapOffsets: UnsafePointer<Int>,
        scratch: UnsafeMutablePointer<Float>, next: UnsafePointer<Float>?, nextCount: Int, nextPitch: Int
    ) {
        let lanes = shape.layout.lanes, rowStride = shape.rowStride, count = outputs * lanes
        let products = scratch + 6 * rowStride
        ck_winograd_input(padded.tap(0, 0, row: y), rowStride, rowStride, scratch)
        for product in 0..<6 {
            // The first three of nine tap offsets are those within a row.
            ck_convolve(
                scratch + product * rowStride, shape.stride, tapOffsets, 3, weights + product * 3 * outputs * inputs, inputs, outputs,
                lanes, products + product * count, lanes, product < 4 ? next.map { $0 + product * nextPitch } : nil, nextCount)
        }
        ck_winograd_output(products, count, output, rowPitch)
    }
}
