import CKernels

/// Where the images of a group of one resolution have their place in the panels of another, which may put more of them
/// side by side.
package struct GroupPlaces {
    private let source: FeatureMap
    private let target: PanelLayout

    package init(source: FeatureMap, target: PanelLayout) {
        self.source = source
        self.target = target
    }

    /// Hands `body` each image's first lane in row `y` of the target's panels, and how many images the group has.
    @inline(__always)
    private func withPlaces(
        _ group: Int, _ y: Int, in panels: Panels, _ body: (UnsafePointer<UnsafeMutablePointer<Float>>, Int) -> Void
    ) {
        let count = source.images(in: group)
        withUnsafeTemporaryAllocation(of: UnsafeMutablePointer<Float>.self, capacity: count) { places in
            for n in 0..<count {
                let image = group * source.layout.interleave + n
                places[n] = panels.panel(image / target.interleave, y) + image % target.interleave
            }
            body(UnsafePointer(places.baseAddress!), count)
        }
    }

    /// Row `y` of the 2×2 average pool of max(0, affine(values)), for a group's images; an odd last row or column is
    /// left out.
    ///
    /// - Parameter scratch: a row of the source's lanes.
    package func averagePool(
        _ values: Panels, _ affine: ChannelAffine, group: Int, y: Int, into pooled: Panels,
        scratch: UnsafeMutablePointer<Float>
    ) {
        withPlaces(group, y, in: pooled) { places, count in
            kernels.pointee.average_pool(
                values.panel(group, 2 * y), values.panel(group, 2 * y + 1), affine.channels, source.layout.lanes,
                affine.scale.pointer, affine.shift.pointer, target.width, source.layout.interleave, count, places,
                target.lanes, target.interleave, scratch)
        }
    }

    /// The gradient of rows 2y and 2y + 1 of the pool's input, shape [channels][lanes of the source]; zero where the
    /// pool leaves out.
    package func averagePoolBackward(_ gradient: Panels, group: Int, y: Int, into output: UnsafeMutablePointer<Float>) {
        guard y < target.height else {
            return output.update(repeating: 0, count: gradient.channels * source.layout.lanes)
        }
        withPlaces(group, y, in: gradient) { places, count in
            kernels.pointee.average_pool_backward(
                places, target.lanes, target.interleave, gradient.channels, source.layout.lanes, target.width,
                source.layout.interleave, count, output)
        }
    }
}

/// 3×3 max-pool with stride 2 and padding 1 of max(0, affine(values)): ResNet's and DenseNet's ImageNet stem.
package struct MaxPoolKernel {
    private let source: FeatureMap
    private let target: PanelLayout

    package init(source: FeatureMap, target: PanelLayout) {
        self.source = source
        self.target = target
    }

    /// Writes row `y` of the first `affine.channels` channels of the pooled panels, for every image of the group.
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

    /// Adds row `y` of one target group's pooled gradient, a panel of shape [channels][lanes], to the values that were
    /// the largest.
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

/// sums[c][lane] += max(0, affine(panel)): one row of a global average pool.
package func addActivated(
    _ panel: UnsafePointer<Float>, _ affine: ChannelAffine, lanes: Int, to sums: UnsafeMutablePointer<Float>
) {
    kernels.pointee.add_affine_relu(panel, affine.channels, lanes, affine.scale.pointer, affine.shift.pointer, sums)
}
