import DataParallel
import Glibc
import Support

/// Bucketed sums equal those of one plain all-reduce, for any bucket size and any sequence of reported offsets. What lies
/// behind the elements to sum stays as it is.
func buckets(_ world: Communicator) throws {
    for count in [1, 300, 1024] {
        for bucketElements in [1, 7, 64, 299, 300, 301, 5000] where count / bucketElements <= 300 {
            let rest = bucketElements % 3
            let buffer = AlignedBuffer<Float>(count: count + rest)
            buffer.elements.update(repeating: 0.5)
            let plain = AlignedBuffer<Float>(count: count)
            let reduce = GradientAllReduce(
                communicator: world, gradients: buffer, count: rest == 0 ? nil : count, bucketElements: bucketElements)
            for step in 0..<3 {
                // Integers, so that sums in any order are exact.
                var random = CounterRandom(
                    .synthetic, UInt64(world.rank), UInt64(count), UInt64(bucketElements), UInt64(step))
                for i in 0..<count { plain.pointer[i] = Float(random.below(2001) - 1000) }
                buffer.pointer.update(from: plain.pointer, count: count)
                try world.allReduceSum(plain.elements.mutableSpan)
                var offset = 0
                while random.below(8) > 0 {
                    offset += random.below(count - offset + 1)
                    try reduce.ready(upTo: offset)
                }
                try reduce.finish()
                try require(
                    buffer[0..<count].elementsEqual(plain.elements)
                        && buffer[count..<count + rest].allSatisfy { $0 == 0.5 },
                    "\(count) gradients in buckets of \(bucketElements), step \(step)")
            }
        }
    }
}

/// Random gradients of realistic size: all ranks have the same bits, close to the plain sum. Prints a hash to compare
/// two runs.
func randomGradients(_ world: Communicator) throws {
    let count = 200_000
    let buffer = AlignedBuffer<Float>(count: count)
    let exact = AlignedBuffer<Double>(count: count)
    let reduce = GradientAllReduce(communicator: world, gradients: buffer, bucketElements: 65_536)
    var random = CounterRandom(.synthetic, UInt64(world.rank))
    for i in 0..<count {
        buffer.pointer[i] = random.uniform(-1, 1)
        exact.pointer[i] = Double(buffer.pointer[i])
    }
    try world.allReduceSum(exact.elements.mutableSpan)
    for offset in stride(from: 0, through: count, by: 12_345) { try reduce.ready(upTo: offset) }
    try reduce.finish()

    let worst = zip(buffer.elements, exact.elements).map { abs(Double($0) - $1) }.max()!
    try require(worst < 1e-6, "a sum is off by \(worst)")
    let hash = buffer.elements.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1.bitPattern)) &* 0x100_0000_01b3 }
    let differing = try world.ranksDiffering(from: hash)
    try require(differing.isEmpty, "ranks \(differing) have other bits than rank 0")
    if world.rank == 0 { print("gradients \(hash)") }
}

/// An error drops everything between a bucket's start and `finish`: what MPI is using is leaked, and nothing else.
func abandonedGradients(_ world: Communicator) throws {
    weak var finished: AlignedBuffer<Float>?
    weak var underWay: AlignedBuffer<Float>?
    var left: UnsafeMutableBufferPointer<Float>?
    func step(_ body: (GradientAllReduce, AlignedBuffer<Float>) throws -> Void) throws {
        let buffer = AlignedBuffer<Float>(count: 200_000)
        buffer.elements.update(repeating: 1)
        try body(
            GradientAllReduce(communicator: world, gradients: buffer, bucketElements: 50_000),
            buffer)
    }
    try step { reduce, buffer in
        finished = buffer
        try reduce.finish()
    }
    try step { reduce, buffer in
        (underWay, left) = (buffer, buffer.elements)
        try reduce.ready(upTo: 120_000)
    }
    try require(finished == nil, "a buffer is kept that MPI is done with")
    guard world.size > 1 else { return }
    try require(underWay != nil, "a buffer is freed while MPI writes into it")
    // Open MPI makes progress only while it is called.
    var missing: Int32 = 1
    while missing > 0 {
        let isSummed = left![0..<100_000].allSatisfy { $0 == Float(world.size) }
        missing = try world.allReduceMax(isSummed ? 0 : 1)
    }
    try require(left![100_000...].allSatisfy { $0 == 1 }, "a bucket was summed that was not started")
}

/// A programming error: it must trap.
func backwards(_ world: Communicator) throws {
    let buffer = AlignedBuffer<Float>(count: 10)
    let reduce = GradientAllReduce(communicator: world, gradients: buffer, bucketElements: 5)
    try reduce.ready(upTo: 6)
    try reduce.ready(upTo: 5)
}
