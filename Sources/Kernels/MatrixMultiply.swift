import COpenBLAS
import Support

/// A factor of a matrix product: row-major numbers that the caller keeps alive, taken as they stand or transposed.
package struct MatrixFactor {
    fileprivate let elements: UnsafePointer<Float>
    fileprivate let rows: Int
    fileprivate let columns: Int
    fileprivate let isTransposed: Bool

    /// A matrix of shape [rows][columns].
    package init(_ elements: UnsafePointer<Float>, rows: Int, columns: Int) {
        self.init(elements: elements, rows: rows, columns: columns, isTransposed: false)
    }

    private init(elements: UnsafePointer<Float>, rows: Int, columns: Int, isTransposed: Bool) {
        self.elements = elements
        self.rows = rows
        self.columns = columns
        self.isTransposed = isTransposed
    }

    /// The same numbers as a matrix of shape [columns][rows].
    package var transposed: MatrixFactor {
        MatrixFactor(elements: elements, rows: columns, columns: rows, isTransposed: !isTransposed)
    }

    /// Numbers from one stored row to the next.
    fileprivate var stride: Int32 { Int32(isTransposed ? rows : columns) }
    fileprivate var order: CBLAS_TRANSPOSE { isTransposed ? CblasTrans : CblasNoTrans }
}

/// Writes the product of two matrices, shape [left's rows][right's columns], or adds it to what `product` holds.
///
/// - Precondition: the left factor has as many columns as the right one has rows.
package func matrixMultiply(
    _ left: MatrixFactor, _ right: MatrixFactor, into product: UnsafeMutablePointer<Float>, accumulate: Bool = false
) {
    precondition(left.columns == right.rows, "no product of \(left.columns) columns and \(right.rows) rows")
    cblas_sgemm(
        CblasRowMajor, left.order, right.order, Int32(left.rows), Int32(right.columns), Int32(left.columns), 1,
        left.elements, left.stride, right.elements, right.stride, accumulate ? 1 : 0, product, Int32(right.columns))
}

/// The library that multiplies matrices.
package enum OpenBLAS {
    /// Address space of the buffer that it takes at a thread's first product: 128 MiB and a little more.
    package static let bufferBytes = 129 << 20

    /// Its version, how it was built, and the kernels that it has chosen for this CPU.
    package static var configuration: String { String(cString: openblas_get_config()) }

    /// Has it take its buffer now, of which it tries to get hold for ever: `demandMemory` first.
    package static func prepare() {
        // OpenBLAS cannot see that other ranks have the other cores.
        openblas_set_num_threads(1)
        // Some CPUs have kernels without a buffer for smaller products.
        let size = 128
        let factors = AlignedBuffer<Float>(count: size * size)
        let product = AlignedBuffer<Float>(count: size * size)
        let factor = MatrixFactor(factors.pointer, rows: size, columns: size)
        matrixMultiply(factor, factor, into: product.pointer)
    }
}
