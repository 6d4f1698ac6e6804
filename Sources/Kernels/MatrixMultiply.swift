import COpenBLAS
import Support

/// A factor of a matrix product: a row-major matrix in memory that the caller keeps alive, possibly transposed.
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

    /// The transpose, of shape [columns][rows]; it shares the memory.
    package var transposed: MatrixFactor {
        MatrixFactor(elements: elements, rows: columns, columns: rows, isTransposed: !isTransposed)
    }

    /// Elements from one stored row to the next.
    fileprivate var stride: Int32 { Int32(isTransposed ? rows : columns) }
    fileprivate var order: CBLAS_TRANSPOSE { isTransposed ? CblasTrans : CblasNoTrans }
}

/// product = left · right, of shape [left.rows][right.columns]; with `accumulate` it is added to `product`.
///
/// - Precondition: `left` has as many columns as `right` has rows.
package func matrixMultiply(
    _ left: MatrixFactor, _ right: MatrixFactor, into product: UnsafeMutablePointer<Float>, accumulate: Bool = false
) {
    precondition(left.columns == right.rows, "\(left.columns) columns do not match \(right.rows) rows")
    cblas_sgemm(
        CblasRowMajor, left.order, right.order, Int32(left.rows), Int32(right.columns), Int32(left.columns), 1,
        left.elements, left.stride, right.elements, right.stride, accumulate ? 1 : 0, product, Int32(right.columns))
}

/// The library behind `matrixMultiply`.
package enum OpenBLAS {
    /// Address space of the buffer that it allocates in a thread's first product: a little over 128 MiB.
    package static let bufferBytes = 129 << 20

    /// Its version, how it was built, and the kernels that it has chosen for this CPU.
    package static var configuration: String { String(cString: openblas_get_config()) }

    /// What to say behind its rate where that is no measure of this CPU, with a space in front; empty where it is one. A
    /// version older than the CPU takes the kernels of a Prescott, of 2004.
    package static var reservation: String {
        let core = String(cString: openblas_get_corename())
        guard core == "Prescott", VectorLevel.best > VectorLevel.allCases[0] else { return "" }
        return " by kernels for \(core), as OpenBLAS does not know this CPU"
    }

    /// Makes OpenBLAS allocate its buffer now. It retries forever if there is no memory: call `requireMemory` first.
    package static func prepare() {
        // OpenBLAS cannot see that the other cores belong to other ranks.
        openblas_set_num_threads(1)
        // Large enough for the kernels that need the buffer; on some CPUs small products do not.
        let size = 128
        let factors = AlignedBuffer<Float>(count: size * size)
        let product = AlignedBuffer<Float>(count: size * size)
        let factor = MatrixFactor(factors.pointer, rows: size, columns: size)
        matrixMultiply(factor, factor, into: product.pointer)
    }
}
