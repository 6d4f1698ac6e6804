/// Where the pixels of a resolution lie: rows of several images side by side, so that they fill the vector lanes.
///
/// A *panel* is one row `y` of a *group* of `interleave` images. It holds, channel after channel, `lanes` floats; lane
/// = column · interleave + image in group. `lanes` is a multiple of 16: lanes beyond `width · interleave`, and those of
/// images that a last group does not have, are *padding*: they never reach statistics or gradients.
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
    /// long rows, if there are groups for all tasks, then one that fills the 32 lanes of a register tile, then the one
    /// with the fewest images in a panel.
    package init(height: Int, width: Int, images: Int) {
        precondition(height > 0 && width > 0, "an image of \(height)×\(width) pixels has no panels")
        func lanes(_ interleave: Int) -> Int { (width * interleave + 15) / 16 * 16 }
        var best = (cost: Int.max, interleave: 1)
        for interleave in 1...max(1, min(images, 128 / width)) {
            let groups = (max(images, 1) + interleave - 1) / interleave
            let isLong = lanes(interleave) % Self.longRow == 0 && groups >= TaskPartition.maximumCount
            let cost = groups * lanes(interleave) * 4 + (isLong ? 0 : lanes(interleave) % 32 == 0 ? 1 : 2)
            if cost < best.cost { best = (cost, interleave) }
        }
        self.height = height
        self.width = width
        interleave = best.interleave
        self.lanes = lanes(best.interleave)
    }

    /// The lanes of a full panel that hold pixels.
    package var validLanes: Int { width * interleave }

    /// Groups that `images` images fill, the last one perhaps only in part.
    package func groups(_ images: Int) -> Int { (images + interleave - 1) / interleave }
}
