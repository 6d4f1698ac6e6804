import Kernels
import Support

/// Dropout after a convolution (arXiv 1608.06993, section 3, "Implementation Details"): each element is zeroed with
/// probability p and otherwise divided by 1 − p.
///
/// Which elements are dropped is a pure function of (seed, epoch, sample, layer, element): nothing is stored for
/// backward, and the result does not depend on the number of ranks.
struct Dropout {
    let probability: Double
    /// The convolution's index, counted from the stem.
    let layer: Int
    let featureMap: FeatureMap

    func isOn(_ pass: PassContext) -> Bool { pass.training && probability > 0 }

    /// Computes the worker's keys for the lanes of a group.
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

    /// Drops elements of row `y` of the group passed to `begin`: a panel of `channels` rows, `stride` apart.
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
