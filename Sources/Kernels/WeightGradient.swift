import CKernels

/// gradient[o][m] = Σ over rows and lanes of transposed[row][lane][m] · other[row][o][lane].
///
/// - Parameters:
///   - transposed: shape [rows][lanes][width], `transposedRow` floats from row to row; `width` a multiple of 16.
///   - other: shape [rows][others][lanes], channels `otherStride` apart and rows `otherRow` apart.
///   - gradient: shape [others][width].
///   - accumulate: whether to add to what `gradient` holds.
///   - next: `nextCount` floats to prefetch, which are written after this call.
@inline(__always)
package func addWeightGradient(
    transposed: UnsafePointer<Float>, width: Int, transposedRow: Int, other: UnsafePointer<Float>, otherStride: Int,
    otherRow: Int, others: Int, lanes: Int, rows: Int, to gradient: UnsafeMutablePointer<Float>,
    accumulate: Bool, next: UnsafePointer<Float>? = nil, nextCount: Int = 0
) {
    kernels.pointee.weight_gradient(
        transposed, width, transposedRow, other, otherStride, otherRow, others, lanes, rows, gradient,
        accumulate ? 1 : 0, next, nextCount)
}

/// gradient[o][m] = Σ over rows and lanes of transposed[row][lane][m] · other[row][o][lane], both sides in bfloat16.
///
/// - Parameters:
///   - transposed: shape [rows][lanes / 2][width], `transposedRow` elements from row to row; `width` a multiple of 16.
///   - other: shape [rows][others][lanes], channels `otherStride` apart and rows `otherRow` apart.
///   - gradient: shape [others][width], float32.
///   - accumulate: whether to add to what `gradient` holds.
///   - next: `nextCount` floats to prefetch, which are written after this call.
@inline(__always)
package func addWeightGradient(
    transposed: UnsafePointer<Float>, width: Int, transposedRow: Int, other: UnsafePointer<UInt16>, otherStride: Int,
    otherRow: Int, others: Int, lanes: Int, rows: Int, to gradient: UnsafeMutablePointer<Float>,
    accumulate: Bool, next: UnsafePointer<Float>? = nil, nextCount: Int = 0
) {
    kernels.pointee.weight_gradient_pairs(
        transposed, width, transposedRow, other, otherStride, otherRow, others, lanes / 2, rows, gradient,
        accumulate ? 1 : 0, next, nextCount)
}

/// sums[i] += values[i] for `count` floats.
package func add(_ values: UnsafePointer<Float>, to sums: UnsafeMutablePointer<Float>, count: Int) {
    kernels.pointee.add(values, sums, count)
}
