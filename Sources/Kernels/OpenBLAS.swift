import COpenBLAS

/// The library that multiplies the classifier's matrices.
public enum OpenBLAS {
    /// Address space of the buffer that it takes at a thread's first product: 128 MiB and a little more.
    public static let bufferBytes = 129 << 20

    /// Has it take its buffer now, of which it tries to get hold for ever: `demandMemory` first.
    public static func prepare() {
        // OpenBLAS cannot see that other ranks have the other cores.
        openblas_set_num_threads(1)
        // Some CPUs have kernels without a buffer for smaller products.
        let size = 128
        let factors = AlignedBuffer<Float>(count: size * size)
        let product = AlignedBuffer<Float>(count: size * size)
        let length = Int32(size)
        cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasNoTrans, length, length, length, 1, factors.pointer, length,
            factors.pointer, length, 0, product.pointer, length)
    }
}
