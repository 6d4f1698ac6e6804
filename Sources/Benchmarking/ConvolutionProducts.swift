import DenseNetModel
import Kernels
import Support

/// The matrix products of a network's convolutions, each timed alone on data in cache: a lower bound on step time with
/// these kernels.
package struct ConvolutionProducts {
    /// One product: its kind, shape and number of panels per step.
    package struct Product: Sendable {
        package enum Kind: String, Sendable {
            case forward
            case dataGradient = "data gradient"
            case weightGradient = "weight gradient"
        }

        package let kind: Kind
        package let taps: Int
        package let inputs: Int
        package let outputs: Int
        package let lanes: Int
        package let precision: Precision
        /// Panels per step.
        package let count: Int

        /// Operations per panel.
        package var operations: Double { 2 * Double(taps * inputs * outputs * lanes) }

        package var name: String {
            "\(taps == 1 ? "1×1" : taps == 9 ? "3×3" : "stem") \(inputs)→\(outputs) \(kind.rawValue)"
        }
    }

    /// A product and its measured time.
    package struct Measurement: Sendable {
        package let product: Product
        /// Seconds per panel.
        package let seconds: Double

        /// Seconds per step.
        package var total: Double { seconds * Double(product.count) }
        package var gigaflops: Double { product.operations / seconds * 1e-9 }
    }

    package let products: [Product]

    /// All products of a training step on `images` images; `precision` is that of the dense layers.
    package init(_ configuration: DenseNetConfiguration, images: Int, precision: Precision) {
        products = ParameterTable(configuration).convolutions.flatMap {
            Self.products(of: $0, images: images, precision: precision)
        }
    }

    private static func products(of convolution: Convolution, images: Int, precision: Precision) -> [Product] {
        let size = convolution.computedSize
        let layout = PanelLayout(height: size, width: size, images: images)
        let isStem = convolution.kind == .stem
        let isInDenseLayer = convolution.kind == .pointwise || convolution.kind == .growth
        // The stem is a product over patches.
        let taps = isStem ? 1 : convolution.weight.shape[2] * convolution.weight.shape[3]
        let outputs = convolution.outputs
        let inputs = convolution.weight.count / outputs / taps
        func product(_ kind: Product.Kind, _ inputs: Int, _ outputs: Int) -> Product {
            Product(
                kind: kind, taps: taps, inputs: inputs, outputs: outputs, lanes: layout.lanes,
                precision: isInDenseLayer ? precision : .float32, count: layout.groups(images) * size)
        }
        return [product(.forward, inputs, outputs)] + (isStem ? [] : [product(.dataGradient, outputs, inputs)])
            + [product(.weightGradient, inputs, outputs)]
    }

    /// Times every product for a few milliseconds.
    package func measure() -> [Measurement] {
        let size =
            products.map { product in
                max(product.taps, 4) * (product.inputs + 16) * max(product.outputs + 16, product.lanes + 256)
            }.max() ?? 0
        let buffers = (0..<4).map { _ in AlignedBuffer<Float>(count: size) }
        for buffer in buffers { buffer.elements.update(repeating: 0.01) }
        return products.map { Measurement(product: $0, seconds: Self.measure($0, buffers)) }
    }

    private static func measure(_ product: Product, _ buffers: [AlignedBuffer<Float>]) -> Double {
        let stride = product.taps == 9 ? product.lanes + 2 : product.lanes
        let offsets = AlignedBuffer<Int>(count: 9)
        for tap in 0..<9 { offsets.pointer[tap] = tap / 3 * stride * product.inputs + tap % 3 }
        let width = (product.inputs + 15) / 16 * 16
        let packed = PackedWeights(
            taps: product.taps, outputs: product.outputs, inputs: product.inputs, in: buffers[1],
            precision: product.precision)
        return bestTime(of: product.operations < 4e6 ? 16 : 4) {
            switch product.kind {
            case .forward, .dataGradient:
                packed.convolve(
                    buffers[0].pointer, stride: stride, tapOffsets: offsets.pointer, lanes: product.lanes,
                    into: buffers[2].pointer, outputStride: product.lanes)
            case .weightGradient:
                for tap in 0..<product.taps {
                    switch product.precision {
                    case .float32:
                        addWeightGradient(
                            transposed: buffers[0].pointer, width: width, transposedRow: 0, other: buffers[2].pointer,
                            otherStride: stride, otherRow: 0, others: product.outputs, lanes: product.lanes, rows: 1,
                            to: buffers[3].pointer + tap, accumulate: true)
                    case .bfloat16:
                        addWeightGradient(
                            transposed: buffers[0].pointer, width: width, transposedRow: 0,
                            other: bfloat16Numbers(in: buffers[2]), otherStride: stride, otherRow: 0,
                            others: product.outputs,
                            lanes: product.lanes, rows: 1, to: buffers[3].pointer + tap, accumulate: true)
                    }
                }
            }
        }
    }

    /// OpenBLAS's rate on this core for a product of 1024 × 1024 float32 matrices, in GFLOP/s.
    package static func sgemmPeak() -> Double {
        let n = 1024
        let buffers = (0..<3).map { _ in AlignedBuffer<Float>(count: n * n) }
        for buffer in buffers { buffer.elements.update(repeating: 0.01) }
        let factors = buffers.map { MatrixFactor($0.pointer, rows: n, columns: n) }
        OpenBLAS.prepare()
        let seconds = bestTime(of: 1) { matrixMultiply(factors[0], factors[1], into: buffers[2].pointer) }
        return 2 * Double(n * n * n) / seconds * 1e-9
    }
}

/// Seconds per call in the fastest of five runs of `calls` calls.
private func bestTime(of calls: Int, _ body: () -> Void) -> Double {
    var best = Double.infinity
    for _ in 0..<5 {
        let began = monotonicSeconds()
        for _ in 0..<calls { body() }
        best = min(best, (monotonicSeconds() - began) / Double(calls))
    }
    return best
}
