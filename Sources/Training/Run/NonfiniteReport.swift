import DataParallel
import DenseNetModel

/// Where the numbers of a step first were not finite; the same on all ranks.
struct NonfiniteReport {
    /// Such as `the output of features.conv0 is not finite on rank 1`.
    let text: String
    /// Whether it is a weight or a running statistic, so that every further step has it too.
    let isPersistent: Bool

    /// Looks on each rank and takes the earliest place of all. Collective.
    init(_ network: TrainableDenseNet, _ communicator: Communicator) throws {
        let place = network.firstNonfinite()
        let orders = try communicator.allGather(UInt64(place?.order ?? .max))
        let ranks = orders.indices.filter { orders[$0] == orders.min() }
        let root = ranks[0]
        isPersistent = try communicator.broadcast(Int32(place?.isPersistent == true ? 1 : 0), from: root) == 1
        let name = try communicator.broadcast(bytes: Array((place?.name ?? "a number").utf8), from: root)
        let list = ranks.map(String.init).joined(separator: ", ")
        text =
            "\(String(decoding: name, as: UTF8.self)) is not finite on "
            + (ranks.count == communicator.size ? "all ranks" : ranks.count == 1 ? "rank \(list)" : "ranks \(list)")
    }
}
