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

extension ProducedChannels {
    /// Writes the gradient of a convolution's output of row `y` of the group passed to `dropout.begin`, before dropout:
    /// channels `stride` numbers apart. What is stored in bfloat16 is rounded once, after dropout.
    @inline(__always)
    func writeGradient(
        _ group: Int, _ y: Int, before dropout: Dropout, into row: PanelNumbers, stride: Int, _ worker: WorkerSpace,
        _ pass: PassContext
    ) {
        guard dropout.isOn(pass) else { return writeInputGradient(group, y, into: row, stride: stride) }
        let place = row.place(orIn: worker.activation)
        let pitch = row.precision == .float32 ? stride : layout.lanes
        writeInputGradient(group, y, into: PanelNumbers(place), stride: pitch)
        dropout.apply(place, channels: count, stride: pitch, row: y, worker, pass)
        row.store(place, channels: count, lanes: layout.lanes, stride: stride)
    }
}
