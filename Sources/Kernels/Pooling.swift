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

    /// Calls `body` with each image's first lane in row `y` of the target's panels, and the number of images in the
    /// group.
    @inline(__always)
    private func withImages(
        of group: Int, _ y: Int, in panels: Panels, _ body: (UnsafePointer<UnsafeMutablePointer<Float>>, Int) -> Void
    ) {
        let count = source.images(in: group)
        withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<Float>.self, capacity: count) { lanes in
            for n in 0..<count {
                let image = group * source.layout.interleave + n
                lanes[n] = panels.panel(image / target.interleave, y) + image % target.interleave
            }
            body(UnsafePointer(lanes.baseAddress!), count)
        }
    }

    /// Writes row `y` of the pooled panels for the images of one group.
    ///
    /// - Parameter scratch: as many floats as the source has lanes.
    package func forward(
        _ values: Panels, _ affine: ChannelAffine, group: Int, y: Int, into pooled: Panels,
        scratch: UnsafeMutablePointer<Float>
    ) {
        withImages(of: group, y, in: pooled) { lanes, count in
            kernels.pointee.average_pool(
                values.panel(group, 2 * y), values.panel(group, 2 * y + 1), affine.channels, source.layout.lanes,
                affine.scale.pointer, affine.shift.pointer, target.width, source.layout.interleave, count, lanes,
                target.lanes, target.interleave, scratch)
        }
    }

    /// Writes the gradient of rows 2y and 2y + 1 of the pool's input, which are equal: shape [channels][source lanes].
    /// Dropped rows and columns get zero.
    package func backward(_ gradient: Panels, group: Int, y: Int, into output: UnsafeMutablePointer<Float>) {
        guard y < target.height else {
            return output.update(repeating: 0, count: gradient.channels * source.layout.lanes)
        }
        withImages(of: group, y, in: gradient) { lanes, count in
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

    /// Writes row `y` of the first `affine.channels` channels of the pooled panels, for the images of one group.
    package func forward(_ values: Panels, _ affine: ChannelAffine, group: Int, y: Int, into pooled: Panels) {
        withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: 3) { rows in
            for r in 0..<3 { rows[r] = row(2 * y + r - 1).map { UnsafePointer(values.panel(group, $0)) } }
            for n in 0..<source.images(in: group) {
                let image = group * source.layout.interleave + n
                kernels.pointee.max_pool(
                    rows.baseAddress!, affine.channels, source.layout.lanes, source.layout.width,
                    source.layout.interleave, n, affine.scale.pointer, affine.shift.pointer, target.width,
                    pooled.panel(image / target.interleave, y) + image % target.interleave, target.lanes,
                    target.interleave)
            }
        }
    }

    /// Adds row `y` of a target group's pooled gradient, a panel of shape [channels][lanes], to the gradients of the
    /// largest values.
    package func backward(
        _ gradient: UnsafePointer<Float>, targetGroup: Int, y: Int, _ values: Panels, _ affine: ChannelAffine,
        into gradients: Panels
    ) {
        withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: 3) { rows in
            withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<Float>?.self, capacity: 3) { gradientRows in
                let first = targetGroup * target.interleave
                for image in first..<min(first + target.interleave, source.images) {
                    let group = image / source.layout.interleave
                    for r in 0..<3 {
                        rows[r] = row(2 * y + r - 1).map { UnsafePointer(values.panel(group, $0)) }
                        gradientRows[r] = row(2 * y + r - 1).map { gradients.panel(group, $0) }
                    }
                    kernels.pointee.max_pool_backward(
                        rows.baseAddress!, gradientRows.baseAddress!, affine.channels, source.layout.lanes,
                        source.layout.width, source.layout.interleave, image % source.layout.interleave,
                        affine.scale.pointer, affine.shift.pointer, target.width, gradient + (image - first),
                        target.lanes, target.interleave)
                }
            }
        }
    }

    private func row(_ y: Int) -> Int? { y >= 0 && y < source.layout.height ? y : nil }
}

/// sums[c][lane] += max(0, scale[c]·panel[c][lane] + shift[c]): one row of a global average pool.
package func addAffineReLU(
    _ panel: UnsafePointer<Float>, _ affine: ChannelAffine, lanes: Int, to sums: UnsafeMutablePointer<Float>
) {
    kernels.pointee.add_affine_relu(panel, affine.channels, lanes, affine.scale.pointer, affine.shift.pointer, sums)
}
