import CKernels

/// 2×2 average pool of max(0, affine(values)); an odd last row or column is dropped.
///
/// The target's layout may put a different number of images side by side, so each image is pooled on its own.
package struct AveragePoolKernel {
    private let source: FeatureMap
    private let target: PanelLayout

    package init(source: FeatureMap, target: PanelLayout) {
        self.source = source
        self.target = target
    }

    /// Writes row `y` of the pooled panels for the images of one group.
    ///
    /// - Parameter scratch: as many floats as the source has lanes.
    package func forward(
        _ values: Panels, _ affine: ChannelAffine, group: Int, y: Int, into pooled: Panels,
        scratch: UnsafeMutablePointer<Float>
    ) {
        let (upper, lower) = (values.numbers(group, 2 * y), values.numbers(group, 2 * y + 1))
        withImages(of: source, group, y, in: pooled, as: \.floats) { lanes, count in
            kernels.pointee.average_pool(
                upper.kernelArgument, lower.kernelArgument, affine.channels, source.layout.lanes, affine.scale.pointer,
                affine.shift.pointer, target.width, source.layout.interleave, count, lanes, target.lanes,
                target.interleave, scratch)
        }
    }

    /// Writes the gradient of rows 2y and 2y + 1 of the pool's input, which are equal: shape [channels][source lanes].
    /// Dropped rows and columns get zero.
    package func backward(_ gradient: Panels, group: Int, y: Int, into output: UnsafeMutablePointer<Float>) {
        guard y < target.height else {
            return output.update(repeating: 0, count: gradient.channels * source.layout.lanes)
        }
        withImages(of: source, group, y, in: gradient, as: \.floats) { lanes, count in
            kernels.pointee.average_pool_backward(
                lanes, target.lanes, target.interleave, gradient.channels, source.layout.lanes, target.width,
                source.layout.interleave, count, output)
        }
    }
}

/// 3×3 max pool with stride 2 and padding 1 of max(0, affine(values)): the pool of the ImageNet stem.
package struct MaxPoolKernel {
    private let source: FeatureMap
    private let target: PanelLayout

    package init(source: FeatureMap, target: PanelLayout) {
        self.source = source
        self.target = target
    }

    /// Size of a thread's scratch, in floats.
    package static func scratchCount(_ source: PanelLayout) -> Int { 6 * source.lanes + 20 * source.interleave + 512 }

    /// Writes row `y` of the first `affine.channels` channels of the pooled panels, for the images of one group.
    package func forward(
        _ values: Panels, _ affine: ChannelAffine, group: Int, y: Int, into pooled: Panels,
        scratch: UnsafeMutablePointer<Float>
    ) {
        withImages(of: source, group, y, in: pooled, as: \.kernelArgument) { lanes, count in
            withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: 3) { rows in
                for r in 0..<3 { rows[r] = row(2 * y + r - 1).map { UnsafePointer(values.panel(group, $0)) } }
                kernels.pointee.max_pool(
                    rows.baseAddress!, affine.channels, source.layout.lanes, source.layout.width,
                    source.layout.interleave, count, affine.scale.pointer, affine.shift.pointer, target.width, lanes,
                    target.lanes, target.interleave, scratch)
            }
        }
    }

    /// Writes the gradients of rows 2y and 2y + 1 of a group as far as row `y` of the pooled gradient determines them,
    /// and completes that of row 2y − 1, which row y − 1 has begun.
    package func backward(
        _ pooledGradient: Panels, group: Int, y: Int, _ values: Panels, _ affine: ChannelAffine,
        into gradients: Panels, scratch: UnsafeMutablePointer<Float>
    ) {
        withImages(of: source, group, y, in: pooledGradient, as: \.kernelArgument) { lanes, count in
            withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: 3) { rows in
                withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<Float>?.self, capacity: 3) { gradientRows in
                    for r in 0..<3 {
                        rows[r] = row(2 * y + r - 1).map { UnsafePointer(values.panel(group, $0)) }
                        gradientRows[r] = row(2 * y + r - 1).map { gradients.panel(group, $0) }
                    }
                    kernels.pointee.max_pool_backward(
                        rows.baseAddress!, gradientRows.baseAddress!, affine.channels, source.layout.lanes,
                        source.layout.width, source.layout.interleave, count, affine.scale.pointer,
                        affine.shift.pointer, target.width, lanes, target.lanes, target.interleave, scratch)
                }
            }
        }
    }

    private func row(_ y: Int) -> Int? { y >= 0 && y < source.layout.height ? y : nil }
}

/// sums[c][lane] += max(0, scale[c]·panel[c][lane] + shift[c]): one row of a global average pool.
package func addAffineReLU(
    _ panel: PanelNumbers, _ affine: ChannelAffine, lanes: Int, to sums: UnsafeMutablePointer<Float>
) {
    kernels.pointee.add_affine_relu(
        panel.kernelArgument, affine.channels, lanes, affine.scale.pointer, affine.shift.pointer, sums)
}

/// Calls `body` with the first lane of each image of one of the source's groups in row `y` of the target's panels, and
/// the number of these images.
@inline(__always)
private func withImages<Lane>(
    of source: FeatureMap, _ group: Int, _ y: Int, in target: Panels, as lane: (PanelNumbers) -> Lane,
    _ body: (UnsafePointer<Lane>, Int) -> Void
) {
    let count = source.images(in: group)
    let interleave = target.layout.interleave
    withUnsafeTemporaryAllocation(of: Lane.self, capacity: count) { lanes in
        for n in 0..<count {
            let image = group * source.layout.interleave + n
            lanes[n] = lane(target.numbers(image / interleave, y) + image % interleave)
        }
        body(UnsafePointer(lanes.baseAddress!), count)
    }
}
