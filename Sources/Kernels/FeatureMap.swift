import Support

/// The images of the current step at one resolution of the network: how many groups they fill and which lanes are
/// valid.
package final class FeatureMap {
    package let layout: PanelLayout
    package private(set) var images = 0
    package private(set) var groups = 0
    private let fullMask: AlignedBuffer<Float>
    private let lastMask: AlignedBuffer<Float>
    private var lastIsPartial = false

    package init(layout: PanelLayout) {
        self.layout = layout
        fullMask = AlignedBuffer(count: layout.lanes)
        lastMask = AlignedBuffer(count: layout.lanes)
    }

    /// The tasks of a pass.
    ///
    /// - Parameters:
    ///   - units: where it may cut a group.
    ///   - most: tasks at most.
    package func tasks(_ units: RowUnits, most: Int = TaskPartition.maximumCount) -> TaskPartition {
        TaskPartition(groups: groups, units: units, lanes: layout.lanes, most: most)
    }

    /// Sets the number of images in the step.
    package func begin(images: Int) {
        guard images != self.images else { return }
        self.images = images
        groups = layout.groups(images)
        let inLast = images - (groups - 1) * layout.interleave
        lastIsPartial = inLast < layout.interleave
        for lane in 0..<layout.lanes {
            fullMask.pointer[lane] = lane < layout.validLanes ? 1 : 0
            lastMask.pointer[lane] = lane < layout.validLanes && lane % layout.interleave < inLast ? 1 : 0
        }
    }

    /// 1 for each valid lane of the group's panels, 0 for padding; nil if all lanes are valid.
    package func mask(_ group: Int) -> UnsafePointer<Float>? {
        if lastIsPartial && group == groups - 1 { return UnsafePointer(lastMask.pointer) }
        return layout.validLanes < layout.lanes ? UnsafePointer(fullMask.pointer) : nil
    }

    /// The number of images in a group.
    package func images(in group: Int) -> Int { min(layout.interleave, images - group * layout.interleave) }
}
