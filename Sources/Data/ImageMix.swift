import Glibc
import Pictures
import Support

/// How a step mixes each image of its batch with the one before it (the first with the last): all in the same way, which
/// follows from seed, epoch and step, so that it does not matter which rank has which image. As torchvision's `MixUp`
/// and `CutMix`.
struct ImageMix {
    private enum Kind {
        /// Sums of pixels (Zhang et al., "mixup: beyond empirical risk minimization", 2018).
        case sum
        /// A rectangle of the other image (Yun et al., "CutMix", 2019).
        case patch(PixelBox)
    }

    /// What stays of an image, and counts of its label.
    let share: Double
    private let kind: Kind

    /// Nil where an augmentation mixes nothing. One that has both kinds draws one for each step.
    init?(_ augmentation: Augmentation, height: Int, width: Int, seed: UInt64, epoch: Int, step: Int) {
        var random = CounterRandom(.mix, seed, UInt64(epoch), UInt64(step))
        let isPatch: Bool
        switch (augmentation.mixup, augmentation.cutmix) {
        case (nil, nil): return nil
        case (_, nil): isPatch = false
        case (nil, _): isPatch = true
        default: isPatch = random.below(2) == 1
        }
        let drawn = Self.beta((isPatch ? augmentation.cutmix : augmentation.mixup) ?? 1, &random)
        guard isPatch else {
            (share, kind) = (drawn, .sum)
            return
        }
        // The rectangle's centre may lie anywhere; what is beyond the image does not count.
        let (centreX, centreY) = (random.below(width), random.below(height))
        let half = 0.5 * (1 - drawn).squareRoot()
        let (halfWidth, halfHeight) = (Int(half * Double(width)), Int(half * Double(height)))
        let (left, right) = (max(0, centreX - halfWidth), min(width, centreX + halfWidth))
        let (top, bottom) = (max(0, centreY - halfHeight), min(height, centreY + halfHeight))
        let box = PixelBox(top: top, left: left, height: bottom - top, width: right - left)
        share = 1 - Double(box.height * box.width) / Double(height * width)
        kind = .patch(box)
    }

    /// - Parameter other: of the same size.
    func apply(to image: ImagePlanes, other: UnsafePointer<Float>) {
        switch kind {
        case .sum:
            let (own, rest) = (Float(share), Float(1 - share))
            for i in 0..<image.count { image.pointer[i] = own * image.pointer[i] + rest * other[i] }
        case .patch(let box):
            for channel in 0..<image.channels {
                for y in box.top..<box.top + box.height {
                    let start = channel * image.planeCount + y * image.width + box.left
                    (image.pointer + start).update(from: other + start, count: box.width)
                }
            }
        }
    }

    /// A number from the beta distribution with both parameters `alpha` (Jöhnk, 1964), which takes up to six tries in the
    /// mean for the largest that is permitted, 2.
    private static func beta(_ alpha: Double, _ random: inout CounterRandom) -> Double {
        while true {
            let (x, y) = (
                pow(random.uniform(in: 0...1), 1 / alpha), pow(random.uniform(in: 0...1), 1 / alpha)
            )
            if x + y <= 1, x + y > 0 { return x / (x + y) }
        }
    }
}
