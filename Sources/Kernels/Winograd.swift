import CKernels
import Support

/// A 3×3 convolution four rows at a time by Winograd's minimal filtering F(4, 3) along the rows: half the
/// multiplications.
///
/// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.
package struct RowWinograd {
    /// Output rows of a call.
    package static let rows = 4

    private let weights: AlignedBuffer<Float>
    private let outputs: Int
    private let inputs: Int
    private let shape: PaddedGroup.Shape

    /// Floats of the packed weights.
    package static func weightCount(outputs: Int, inputs: Int) -> Int { 18 * outputs * inputs }

    /// Floats of a thread's scratch.
    package static func scratchCount(_ shape: PaddedGroup.Shape, outputs: Int) -> Int {
        6 * (shape.rowStride + outputs * shape.layout.lanes)
    }

    /// - Parameters:
    ///   - shape: that of the padded input.
    ///   - buffer: space for the packed weights, which others may share.
    package init(outputs: Int, input shape: PaddedGroup.Shape, in buffer: AlignedBuffer<Float>) {
        precondition(
            buffer.count >= Self.weightCount(outputs: outputs, inputs: shape.channels),
            "the weights do not fit their buffer")
        weights = buffer
        self.outputs = outputs
        inputs = shape.channels
        self.shape = shape
    }

    /// Packs the weights of the products from the nine taps of the same convolution.
    package func pack(_ taps: PackedWeights) {
        precondition(
            taps.taps == 9 && taps.outputs == outputs && taps.inputs == inputs,
            "these are another convolution's weights")
        kernels.pointee.winograd_weights(taps.pointer, outputs, inputs, weights.pointer)
    }

    /// Rows `y` to `y` + 3 of the convolution.
    ///
    /// - Parameters:
    ///   - output: row `y`, shape [outputs][lanes]; the next row is `rowPitch` floats on.
    ///   - scratch: `scratchCount` floats of the calling thread.
    ///   - next: memory that is read after this call, prefetched meanwhile: four runs of `nextCount` floats,
    ///     `nextPitch` apart.
    package func convolve(
        _ padded: PaddedGroup, row y: Int, into output: UnsafeMutablePointer<Float>, rowPitch: Int,
        tapOffsets: UnsafePointer<Int>, scratch: UnsafeMutablePointer<Float>, next: UnsafePointer<Float>?,
        nextCount: Int, nextPitch: Int
    ) {
        let lanes = shape.layout.lanes
        let rowStride = shape.rowStride
        let count = outputs * lanes
        let products = scratch + 6 * rowStride
        kernels.pointee.winograd_input(padded.tap(0, 0, row: y), rowStride, rowStride, scratch)
        for product in 0..<6 {
            // The first three of nine tap offsets are those within a row.
            kernels.pointee.convolve(
                scratch + product * rowStride, shape.stride, tapOffsets, 0, 3,
                weights.pointer + product * 3 * outputs * inputs, 3, 0, inputs, outputs, lanes,
                products + product * count, lanes, product < 4 ? next.map { $0 + product * nextPitch } : nil, nextCount)
        }
        kernels.pointee.winograd_output(products, count, output, rowPitch)
    }
}

/// The gradient of a 3×3 convolution's weights by the same filtering: half the multiplications again.
///
/// Products of four rows are summed in the transformed domain, over all images; `finish` makes taps of them.
package struct RowWinogradGradient {
    private let inputs: Int
    private let outputs: Int
    private let layout: PanelLayout
    private let outputShape: PaddedGroup.Shape
    /// Runs of four rows that are transformed before they are multiplied: what the cache holds.
    private let batch: Int
    private var width: Int { (inputs + 15) / 16 * 16 }
    private var rowCount: Int { layout.lanes * width }

    /// - Parameter shape: that of the output's padded gradient.
    package init(inputs: Int, output shape: PaddedGroup.Shape) {
        self.inputs = inputs
        outputs = shape.channels
        layout = shape.layout
        outputShape = shape
        let cached = (384 << 10) / (4 * 6 * shape.layout.lanes * ((inputs + 15) / 16 * 16))
        batch = max(1, min(shape.layout.height / RowWinograd.rows, cached))
    }

    /// Floats of the sums of products; nine taps stand behind them. None where there are no four rows.
    package var productCount: Int { layout.height < RowWinograd.rows ? 0 : 18 * outputs * width }

    /// Floats of the sums of products and the nine taps.
    package var gradientCount: Int { productCount + 9 * outputs * width }

    /// Floats of a thread's scratch.
    package var scratchCount: Int { batch * 6 * (rowCount + outputShape.rowStride) }

    /// Adds the part of the first rows, as many as are a multiple of four, to the sums of products.
    ///
    /// - Parameters:
    ///   - transposed: the activated input with a row of zeros before and after, shape [height + 2][lanes][width].
    ///   - padded: the output's gradient.
    package func add(
        transposed: UnsafePointer<Float>, padded: PaddedGroup, scratch: UnsafeMutablePointer<Float>,
        to gradient: UnsafeMutablePointer<Float>
    ) {
        let runs = layout.height / RowWinograd.rows
        let rowStride = outputShape.rowStride
        let rows = scratch
        let gradients = scratch + batch * 6 * rowCount
        for start in stride(from: 0, to: runs, by: batch) {
            let count = min(batch, runs - start)
            for run in 0..<count {
                let y = (start + run) * RowWinograd.rows
                kernels.pointee.winograd_input(transposed + y * rowCount, rowCount, rowCount, rows + run * 6 * rowCount)
                kernels.pointee.winograd_output_gradient(
                    padded.tap(1, 0, row: y), rowStride, rowStride, gradients + run * 6 * rowStride)
            }
            for product in 0..<6 {
                for x in 0..<3 {
                    addWeightGradient(
                        transposed: rows + product * rowCount, width: width, transposedRow: 6 * rowCount,
                        other: gradients + product * rowStride + (2 - x) * layout.interleave,
                        otherStride: outputShape.stride, otherRow: 6 * rowStride, others: outputs, lanes: layout.lanes,
                        rows: count, to: gradient + (product * 3 + x) * outputs * width)
                }
            }
        }
    }

    /// Adds what the products come to to the nine taps behind them, shape [3][3][outputs][width].
    package func finish(_ gradient: UnsafeMutablePointer<Float>) {
        guard productCount > 0 else { return }
        kernels.pointee.winograd_weight_gradient(gradient, 3 * outputs * width, gradient + productCount)
    }
}
