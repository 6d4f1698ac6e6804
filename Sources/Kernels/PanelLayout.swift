/// How pixels are laid out at one resolution: rows of several images side by side, to fill the vector lanes.
///
/// A *panel* is row `y` of a *group* of `interleave` images: for each channel `lanes` floats, where
/// lane = column · interleave + image in group. `lanes` is a multiple of 16. Lanes from `width · interleave` on, and
/// those of images missing from the last group, are *padding*, which never enters statistics or gradients.
///
///     group 0                                   group 1 …
///     row 0: [channel 0: lanes][channel 1: lanes]…
///     row 1: [channel 0: lanes][channel 1: lanes]…
///
/// The first C channels of a panel are contiguous, whatever follows: DenseNet's concatenation costs nothing. A tap of a
/// convolution is a shift by a multiple of `interleave` lanes.
package struct PanelLayout: Sendable, Equatable {
    package let height: Int
    package let width: Int
    /// Images side by side in a panel.
    package let interleave: Int
    package let lanes: Int
    /// Groups of as many images as the layout was chosen for.
    package let capacity: Int

    /// Lanes per channel from which memory streams well and the work per channel hardly counts.
    private static let longRow = 64
    /// Groups from which on short rows bring no more tasks that are worth it.
    private static let manyGroups = 8

    /// The layout with the fewest lanes for up to `images` images of `height` × `width` pixels. Ties go to long rows if
    /// there are groups enough, then to full register tiles of 32 lanes, then to fewer images per panel.
    package init(height: Int, width: Int, images: Int) {
        precondition(height > 0 && width > 0, "an image of \(height)×\(width) pixels has no panels")
        func lanes(_ interleave: Int) -> Int { (width * interleave + 15) / 16 * 16 }
        var best = (cost: Int.max, interleave: 1)
        for interleave in 1...max(1, min(images, 128 / width)) {
            let groups = (max(images, 1) + interleave - 1) / interleave
            let isLong = lanes(interleave) % Self.longRow == 0 && groups >= Self.manyGroups
            let cost = groups * lanes(interleave) * 4 + (isLong ? 0 : lanes(interleave) % 32 == 0 ? 1 : 2)
            if cost < best.cost { best = (cost, interleave) }
        }
        self.height = height
        self.width = width
        interleave = best.interleave
        self.lanes = lanes(best.interleave)
        capacity = (max(images, 1) + best.interleave - 1) / best.interleave
    }

    /// The lanes of a full panel that hold pixels.
    package var validLanes: Int { width * interleave }

    /// The number of groups for `images` images; the last may be partial.
    package func groups(_ images: Int) -> Int { (images + interleave - 1) / interleave }
}
