import Support

/// Where the pixels of a resolution lie: rows of several images side by side, so that they fill the vector lanes.
///
/// A *panel* is one row `y` of a *group* of `interleave` images. It holds, channel after channel, `lanes` floats; lane
/// = column · interleave + image in group. `lanes` is a multiple of 16: lanes beyond `width · interleave`, and those of
/// images that a last group does not have, are *dead*: they never reach statistics or gradients.
///
///     group 0                                   group 1 …
///     row 0: [channel 0: lanes][channel 1: lanes]…
///     row 1: [channel 0: lanes][channel 1: lanes]…
///
/// The first C channels of a panel are one contiguous run, whatever comes after them: that is DenseNet's concatenation.
/// Moving by one column is moving by `interleave` lanes: that is a tap of its convolutions.
package struct PanelLayout: Sendable, Equatable {
    package let height: Int
    package let width: Int
    /// Images side by side in a panel.
    package let interleave: Int
    package let lanes: Int

    /// Lanes of a channel that memory delivers well, and that outweigh what is to be done for a channel.
    private static let longRow = 64

    /// The layout with the fewest lanes for up to `images` images of `height` × `width` pixels; among equals one of
    /// long rows, if there are groups for all chunks, then one that fills the 32 lanes of a register tile, then the one
    /// with the fewest images in a panel.
    package init(height: Int, width: Int, images: Int) {
        precondition(height > 0 && width > 0, "an image of \(height)×\(width) pixels has no panels")
        func lanes(_ interleave: Int) -> Int { (width * interleave + 15) / 16 * 16 }
        var best = (cost: Int.max, interleave: 1)
        for interleave in 1...max(1, min(images, 128 / width)) {
            let groups = (max(images, 1) + interleave - 1) / interleave
            let isLong = lanes(interleave) % Self.longRow == 0 && groups >= Chunks.most
            let cost = groups * lanes(interleave) * 4 + (isLong ? 0 : lanes(interleave) % 32 == 0 ? 1 : 2)
            if cost < best.cost { best = (cost, interleave) }
        }
        self.height = height
        self.width = width
        interleave = best.interleave
        self.lanes = lanes(best.interleave)
    }

    /// The lanes of a full panel that hold pixels.
    package var liveLanes: Int { width * interleave }

    /// Groups that `images` images fill, the last one perhaps only in part.
    package func groups(_ images: Int) -> Int { (images + interleave - 1) / interleave }
}

/// The panels of up to a number of images: `channels` × `lanes` floats for each group and row.
package final class Panels: Sendable {
    package let layout: PanelLayout
    package let channels: Int
    private let buffer: AlignedBuffer<Float>

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

    /// Sets all panels of one group to zero.
    package func clear(group: Int) {
        panel(group, 0).update(repeating: 0, count: layout.height * channels * layout.lanes)
    }
}

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
