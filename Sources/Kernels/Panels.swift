import Support

/// The panels of a batch of images: `channels` × `lanes` floats per group and row.
package final class Panels: Sendable {
    package let layout: PanelLayout
    package let channels: Int
    private let buffer: AlignedBuffer<Float>

    /// - Parameter images: of the largest batch.
    package init(layout: PanelLayout, channels: Int, images: Int) {
        self.layout = layout
        self.channels = channels
        buffer = AlignedBuffer(count: layout.groups(images) * layout.height * channels * layout.lanes)
    }

    /// The panel of row `y` of a group: shape [channels][lanes].
    package func panel(_ group: Int, _ y: Int) -> UnsafeMutablePointer<Float> {
        let offset = (group * layout.height + y) * channels * layout.lanes
        precondition(y < layout.height && offset < buffer.count, "there is no panel \(group), \(y)")
        return buffer.pointer + offset
    }

    package var byteCount: Int { buffer.byteCount }

    package func clear() { buffer.elements.update(repeating: 0) }

    /// Zeroes all panels of one group.
    package func clear(group: Int) {
        panel(group, 0).update(repeating: 0, count: layout.height * channels * layout.lanes)
    }
}
