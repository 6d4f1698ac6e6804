import Support

/// A resolution of the network for the images of the current step: which groups there are and which of their lanes are
/// live.
package final class Stage {
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

    /// The tasks into which work on the groups is cut.
    package var chunks: Chunks { Chunks(groups: groups) }

    /// Sets the number of images of the step.
    package func begin(images: Int) {
        guard images != self.images else { return }
        self.images = images
        groups = layout.groups(images)
        let inLast = images - (groups - 1) * layout.interleave
        lastIsPartial = inLast < layout.interleave
        for lane in 0..<layout.lanes {
            fullMask.pointer[lane] = lane < layout.liveLanes ? 1 : 0
            lastMask.pointer[lane] = lane < layout.liveLanes && lane % layout.interleave < inLast ? 1 : 0
        }
    }

    /// 1 for each live lane of a group's panels, 0 for each dead one; nil where all are live.
    package func mask(_ group: Int) -> UnsafePointer<Float>? {
        if lastIsPartial && group == groups - 1 { return UnsafePointer(lastMask.pointer) }
        return layout.liveLanes < layout.lanes ? UnsafePointer(fullMask.pointer) : nil
    }

    /// How many of a group's images there are.
    package func images(in group: Int) -> Int { min(layout.interleave, images - group * layout.interleave) }
}
