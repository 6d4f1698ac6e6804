import Kernels
import Support

/// Dropout behind a convolution (arXiv 1608.06993, section 3, "Implementation Details"): each element is zero with the
/// probability p, else divided by 1 − p.
///
/// What is dropped is a pure function of (seed, epoch, sample, layer, element): nothing is stored for backward, and any
/// number of ranks drops the same.
struct Dropout {
    let probability: Double
    /// Which convolution this is, counted from the stem.
    let layer: Int
    let featureMap: FeatureMap

    /// Whether anything is dropped in a pass.
    func isOn(_ pass: PassContext) -> Bool { pass.training && probability > 0 }

    /// Sets the keys of the lanes of a group's images.
    func begin(group: Int, _ worker: WorkerSpace, _ pass: PassContext) {
        guard isOn(pass), let imageKeys = pass.dropoutKeys else { return }
        let layout = featureMap.layout
        for n in 0..<featureMap.images(in: group) {
            var random = CounterRandom(.dropout, imageKeys[group * layout.interleave + n], UInt64(layer))
            let key = UInt32(truncatingIfNeeded: random.next())
            for x in 0..<layout.width {
                worker.dropoutKeys.pointer[x * layout.interleave + n] =
                    key &+ UInt32(truncatingIfNeeded: x) &* 0x9E37_79B1
            }
        }
    }

    /// Drops elements of row `y` of the group that was begun: a panel of `channels` rows, `stride` apart.
    func apply(
        _ panel: UnsafeMutablePointer<Float>, channels: Int, stride: Int, row y: Int, _ worker: WorkerSpace,
        _ pass: PassContext
    ) {
        guard isOn(pass) else { return }
        let layout = featureMap.layout
        dropElements(
            of: panel, channels: channels, lanes: layout.lanes, stride: stride, keys: worker.dropoutKeys.pointer,
            first: UInt32(truncatingIfNeeded: y * layout.width),
            step: UInt32(truncatingIfNeeded: layout.height * layout.width), probability: probability)
    }
}
