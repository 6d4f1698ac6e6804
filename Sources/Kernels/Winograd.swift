import CKernels
import Support

/// A 3×3 convolution, four rows at a time, by Winograd's minimal filtering F(4, 3) along the rows: half the
/// multiplications.
///
/// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.
package struct RowWinograd {
    /// Output rows per call.
    package static let rows = 4

    private let weights: AlignedBuffer<Float>
    private let outputs: Int
    private let inputs: Int
    private let shape: PaddedGroup.Shape

    /// Size of the packed weights, in floats.
    package static func weightCount(outputs: Int, inputs: Int) -> Int { 18 * outputs * inputs }

    /// Size of a thread's scratch, in floats.
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

    /// Transforms the nine packed taps of the same convolution to the weights of the six products.
    package func pack(_ taps: PackedWeights) {
        precondition(
            taps.taps == 9 && taps.outputs == outputs && taps.inputs == inputs,
            "the weights belong to a different convolution")
        kernels.pointee.winograd_weights(taps.pointer, outputs, inputs, weights.pointer)
    }

    /// Computes output rows `y` to `y` + 3.
    ///
    /// - Parameters:
    ///   - output: row `y`, shape [outputs][lanes]; rows are `rowPitch` floats apart.
    ///   - scratch: `scratchCount` floats of the calling thread.
    ///   - next: memory to prefetch, which is read after this call: four runs of `nextCount` floats, `nextPitch` apart.
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
            // The first three of the nine tap offsets lie within one row.
            kernels.pointee.convolve(
                scratch + product * rowStride, shape.stride, tapOffsets, 0, 3,
                weights.pointer + product * 3 * outputs * inputs, 3, 0, inputs, outputs, lanes,
                products + product * count, lanes, product < 4 ? next.map { $0 + product * nextPitch } : nil, nextCount)
        }
        kernels.pointee.winograd_output(products, count, output, rowPitch)
    }
}

/// The weight gradient of a 3×3 convolution by the same filtering, again with half the multiplications.
///
/// Products of four rows are summed over all images in the transformed domain; `finish` transforms the sums to taps.
package struct RowWinogradGradient {
    private let inputs: Int
    private let outputs: Int
    private let layout: PanelLayout
    private let outputShape: PaddedGroup.Shape
    /// Runs of four rows to transform before multiplying: as many as fit in the cache.
    private let batch: Int
    private var width: Int { (inputs + 15) / 16 * 16 }
    private var rowCount: Int { layout.lanes * width }

    /// Bytes of transformed input to keep in the cache.
    private static let cachedBytes = 384 << 10

    /// - Parameter shape: that of the output's padded gradient.
    package init(inputs: Int, output shape: PaddedGroup.Shape) {
        self.inputs = inputs
        outputs = shape.channels
        layout = shape.layout
        outputShape = shape
        let cached = Self.cachedBytes / (4 * 6 * shape.layout.lanes * ((inputs + 15) / 16 * 16))
        batch = max(1, min(shape.layout.height / RowWinograd.rows, cached))
    }

    /// Size of the transformed-domain accumulator, in floats, which precedes the nine taps in the buffer; 0 if the
    /// layout has fewer than four rows.
    package var productCount: Int { layout.height < RowWinograd.rows ? 0 : 18 * outputs * width }

    /// Size of the accumulator and the nine taps, in floats.
    package var gradientCount: Int { productCount + 9 * outputs * width }

    /// Size of a thread's scratch, in floats.
    package var scratchCount: Int { batch * 6 * (rowCount + outputShape.rowStride) }

    /// Adds the products of complete runs of four rows to the accumulator, or, without `accumulate`, starts it.
    ///
    /// - Parameters:
    ///   - range: the output rows of the runs.
    ///   - transposed: the activated input with a row of zeros before and after, shape [height + 2][lanes][width].
    ///   - padded: the output's gradient.
    ///   - gradient: the accumulator.
    package func add(
        _ range: Range<Int>, transposed: UnsafePointer<Float>, padded: PaddedGroup,
        scratch: UnsafeMutablePointer<Float>, to gradient: UnsafeMutablePointer<Float>, accumulate: Bool
    ) {
        let runs = range.lowerBound / RowWinograd.rows..<range.upperBound / RowWinograd.rows
        let rowStride = outputShape.rowStride
        let rows = scratch
        let gradients = scratch + batch * 6 * rowCount
        for start in stride(from: runs.lowerBound, to: runs.upperBound, by: batch) {
            let count = min(batch, runs.upperBound - start)
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
                        rows: count, to: gradient + (product * 3 + x) * outputs * width,
                        accumulate: accumulate || start > 0)
                }
            }
        }
    }

    /// Inverse-transforms the accumulated products and adds them to the nine taps, shape [3][3][outputs][width], that
    /// follow the accumulator.
    package func finish(_ gradient: UnsafeMutablePointer<Float>) {
        guard productCount > 0 else { return }
        kernels.pointee.winograd_weight_gradient(gradient, 3 * outputs * width, gradient + productCount)
    }
}
