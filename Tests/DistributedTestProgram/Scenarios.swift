import DataParallel
import Glibc
import Support

typealias Scenario = @Sendable (Communicator) throws -> Void

let scenarios: [String: Scenario] = [
    "place": place, "sum": sum, "broadcast": broadcast, "gather": gather, "throw-on-all-ranks": throwOnAllRanks,
    "funnel": funnel, "host-buffers": hostBuffers, "shared-gradients": sharedGradients, "late-bucket": lateBucket,
    "buckets": buckets, "random-gradients": randomGradients, "statistics": statistics,
    "world-of-one": worldOfOne, "agreed-end": agreedEnd, "lonely-end": lonelyEnd, "crossed-end": crossedEnd,
    "backwards": backwards, "abandoned-gradients": abandonedGradients, "hang": hang,
    "slow-writing": slowWriting, "slow": slow, "missing": missing, "stuck-folder": stuckFolder,
]

/// Each rank knows its rank, on this host and in the world, and the launcher agrees.
private func place(_ world: Communicator) throws {
    try require(
        MPIEnvironment.launchedRank ?? 0 == world.rank, "the launcher says rank \(MPIEnvironment.launchedRank ?? 0)")
    try require((0..<world.size).contains(world.rank), "rank \(world.rank) of \(world.size)")
    try require(
        world.localSize == world.size && world.localRank == world.rank,
        "local rank \(world.localRank) of \(world.localSize), though all ranks are on one host")
    try require(!world.hostName.isEmpty, "the host has no name")
    let ranks = try world.allGather(UInt64(world.rank))
    try require(ranks == (0..<UInt64(world.size)).map { $0 }, "the ranks are \(ranks)")
    try world.barrier()
}

private func sum(_ world: Communicator) throws {
    func check<T: MPIElement & Numeric & Comparable>(_ type: T.Type) throws {
        // Rank r holds r·2 + i mod 7; all sums are exact, also in UInt8.
        var values = (0..<1001).map { T(exactly: world.rank * 2 + $0 % 7)! }
        var maxima = values
        try world.allReduceSum(values.mutableSpan)
        try world.allReduceMax(maxima.mutableSpan)
        let size = world.size
        let sums = (0..<1001).map { T(exactly: size * (size - 1) + size * ($0 % 7))! }
        try require(values == sums, "sums of \(type)")
        try require(maxima == (0..<1001).map { T(exactly: (size - 1) * 2 + $0 % 7)! }, "maxima of \(type)")
        let own = T(exactly: world.rank)!
        let all = T(exactly: size * (size - 1) / 2)!
        try require(try world.allReduceSum([own, 1]) == [all, T(exactly: size)!], "sums of an array of \(type)")
        try require(try world.allReduceSum(own) == all, "the sum of a value of \(type)")
        try require(try world.allReduceMax([own, 1]) == [T(exactly: size - 1)!, 1], "maxima of an array of \(type)")
        try require(try world.allReduceMax(own) == T(exactly: size - 1)!, "the maximum of a value of \(type)")
    }
    try check(Float.self)
    try check(Double.self)
    try check(Int32.self)
    try check(Int64.self)
    try check(UInt8.self)
    try check(UInt64.self)
    try require(try world.allReduceSum([Float]()) == [], "no values")
    try world.allReduceSum(UnsafeMutableBufferPointer<Float>(start: nil, count: 0).mutableSpan)
}

private func broadcast(_ world: Communicator) throws {
    for root in 0..<world.size {
        var values = (0..<5000).map { Float($0 + world.rank * 10_000) }
        try world.broadcast(values.mutableSpan, from: root)
        try require(values == (0..<5000).map { Float($0 + root * 10_000) }, "a buffer from rank \(root)")

        let array = try world.broadcast([Int32(world.rank), -1], from: root)
        try require(array == [Int32(root), -1], "an array from rank \(root)")

        let value = try world.broadcast(UInt64.max - UInt64(world.rank), from: root)
        try require(value == UInt64.max - UInt64(root), "a value from rank \(root)")

        for text in ["", "θ = 0.5, rank \(root)"] {
            let bytes = try world.broadcast(bytes: world.rank == root ? Array(text.utf8) : nil, from: root)
            try require(String(decoding: bytes, as: UTF8.self) == text, "text from rank \(root)")
        }
    }
}

private func gather(_ world: Communicator) throws {
    let values = try world.allGather(UInt64.max - UInt64(world.rank))
    try require(values == (0..<UInt64(world.size)).map { UInt64.max - $0 }, "gathered \(values)")
    let floats = try world.allGather(Float(world.rank) / 2)
    try require(floats == (0..<world.size).map { Float($0) / 2 }, "gathered \(floats)")
    // Rank r has 1,000·r bytes, so rank 0 has none.
    let bytes = try world.allGather(bytes: [UInt8](repeating: UInt8(world.rank), count: world.rank * 1000))
    try require(
        bytes == (0..<world.size).map { [UInt8](repeating: UInt8($0), count: $0 * 1000) },
        "gathered \(bytes.map(\.count)) bytes")
    try require(try world.ranksDiffering(from: 17).isEmpty, "equal values differ")
    let odd = try world.ranksDiffering(from: UInt64(world.rank % 2))
    try require(odd == (0..<world.size).filter { $0 % 2 == 1 }, "ranks \(odd) differ")
}

private struct ForeignError: Error {}

private func throwOnAllRanks(_ world: Communicator) throws {
    try require(try world.throwOnAllRanks { world.rank * 2 } == world.rank * 2, "a body's value is its own rank's")
    let begin = ContinuousClock.now
    // Every set of failing ranks, as a bit mask.
    for failing in 1..<1 << world.size {
        let lowest = failing.trailingZeroBitCount
        let expected = Failure(
            .noInput, (lowest == 0 ? "" : "rank \(lowest): ") + "no file of rank \(lowest), \u{1F4C4}")
        let thrown = catching(Failure.self) {
            try world.throwOnAllRanks {
                if failing >> world.rank & 1 == 1 {
                    throw Failure(.noInput, "no file of rank \(world.rank), \u{1F4C4}")
                }
            }
        }
        try require(thrown == expected, "ranks \(String(failing, radix: 2)): \(String(describing: thrown))")
    }
    let foreign = catching(Failure.self) { try world.throwOnAllRanks { throw ForeignError() } }
    try require(ContinuousClock.now - begin < .seconds(1), "agreement took \(ContinuousClock.now - begin)")
    try require(foreign == Failure(.internal, "ForeignError()"), "a foreign error: \(String(describing: foreign))")
}

/// An error detected by MPI becomes a failure that names the call, the rank and the reason, and the job continues.
private func funnel(_ world: Communicator) throws {
    guard world.size > 1 else { return }
    let failure = catching(Failure.self) { _ = try world.broadcast(Int64(1), from: world.size) }
    try require(
        failure == Failure(.unavailable, "MPI_Bcast failed on rank \(world.rank): MPI_ERR_ROOT: invalid root"),
        "a broadcast from nowhere: \(String(describing: failure))")
    try world.barrier()
}

private func statistics(_ world: Communicator) throws {
    let sums = StatisticsAllReduce(communicator: world)
    var values = [1.0, 0x1p-40 * Double(world.rank), -3.5]
    for _ in 0..<2 { try sums.sum(values.mutableSpan) }
    let size = Double(world.size)
    try require(
        values == [size * size, 0x1p-40 * size * size * (size - 1) / 2, -3.5 * size * size], "sums are \(values)")
}

private func worldOfOne(_ world: Communicator) throws {
    try require(world.size == 1 && world.rank == 0, "rank \(world.rank) of \(world.size)")
    try require(MPIEnvironment.launchedRank == nil, "no launcher has started this")
}

/// One rank has an error within `throwOnAllRanks`.
private func agreedEnd(_ world: Communicator) throws {
    try world.throwOnAllRanks {
        if world.rank == world.size - 1 { throw Failure(.data, "data_batch_1.bin is short") }
    }
}

/// One rank has an error while the others wait for it.
private func lonelyEnd(_ world: Communicator) throws {
    if world.rank == world.size - 1 { throw Failure(.noInput, "the disk has gone") }
    try world.barrier()
}

/// The error that ends a rank is not the one marked as agreed before.
private func crossedEnd(_ world: Communicator) throws {
    _ = catching(Failure.self) { try agreedEnd(world) }
    try lonelyEnd(world)
}

/// Rank zero never arrives; for tests of deadlines.
private func hang(_ world: Communicator) throws {
    while world.rank == 0 { pause() }
    try world.barrier()
}
