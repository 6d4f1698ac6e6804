import DataParallel
import Glibc
import Support

/// The buffers of the ranks of this host, which must be granted.
private func allocate(_ world: Communicator, count: Int) throws -> HostBuffers {
    switch try HostBuffers.allocate(count: count, common: 2, communicator: world) {
    case .success(let host): return host
    case .failure(let refusal): throw Failure(.internal, refusal.reason)
    }
}

/// This process's mappings of windows, one per window in use.
private func windowMappings() throws -> [String] {
    let file = fopen("/proc/self/maps", "r")
    try require(file != nil, "no /proc/self/maps")
    defer { fclose(file) }
    var (line, capacity) = (UnsafeMutablePointer<CChar>?.none, 0)
    defer { free(line) }
    var lines: [String] = []
    while getline(&line, &capacity, file) > 0 { lines.append(String(cString: line!)) }
    return lines.filter { $0.contains("/osc_sm.") }
}

/// Ranks see what the others write to common buffers and not what they write to their own; memory without a user is
/// freed, and no other.
func hostBuffers(_ world: Communicator) throws {
    guard world.size > 1 else {
        let refusal = try HostBuffers.allocate(count: 1, common: 1, communicator: world)
        guard case .failure(let refusal) = refusal else { throw Failure(.internal, "one rank shares memory") }
        return try require(refusal.reason == "there is one rank" && !refusal.isOfSystem, "\(refusal)")
    }
    let kept = try allocate(world, count: 1001)
    for _ in 0..<3 {
        let host = try allocate(world, count: 777)
        let reduce = GradientAllReduce(
            communicator: world, gradients: host.own, host: host, bucketElements: 100)
        for buffer in [host.own] + host.common {
            try require(buffer.count == 777 && buffer.elements.allSatisfy { $0 == 0 }, "a new buffer is not zero")
        }
        try reduce.meetHost()
        host.own.elements.update(repeating: Float(world.rank + 1))
        host.common[0].pointer[world.rank] = Float(world.rank + 1)
        try reduce.meetHost()
        try require(
            host.own.elements.allSatisfy { $0 == Float(world.rank + 1) }, "an own buffer is another rank's too")
        try require(
            (0..<world.size).allSatisfy { host.common[0].pointer[$0] == Float($0 + 1) },
            "a common buffer lacks what other ranks wrote")
        try require(host.common[1].elements.allSatisfy { $0 == 0 }, "two common buffers overlap")
        try reduce.meetHost()
        // This one and `kept`; the one before it has no user any more.
        let windows = try windowMappings()
        try require(windows.count == 2, "\(windows.count) windows")
        try require(windows.allSatisfy { $0.hasSuffix(" (deleted)\n") }, "a kill would leave a file: \(windows)")
    }
    try require(kept.own.count == 1001 && kept.own.elements.allSatisfy { $0 == 0 }, "memory in use was freed")
}

/// Sums in shared memory have the bits of sums by messages, for any bucket size and any sequence of reported offsets;
/// each part is announced once, with its sum in it. What lies behind the elements to sum stays as it is.
func sharedGradients(_ world: Communicator) throws {
    guard world.size > 1 else { return }
    for (count, bucketElements) in [(1, 1), (300, 7), (1024, 64), (1024, 5000), (5000, 1000), (200_000, 65_536)] {
        let rest = bucketElements % 3
        let host = try allocate(world, count: count + rest)
        let shared = GradientAllReduce(
            communicator: world, gradients: host.own, count: rest == 0 ? nil : count, host: host,
            bucketElements: bucketElements)
        let plain = AlignedBuffer<Float>(count: count)
        let messages = GradientAllReduce(communicator: world, gradients: plain, bucketElements: bucketElements)
        for step in 0..<3 {
            // Of all magnitudes, so that another order of the sums gives other bits.
            var random = CounterRandom(
                .synthetic, UInt64(world.rank), UInt64(count), UInt64(bucketElements), UInt64(step))
            for i in 0..<count { plain.pointer[i] = random.uniform(-1, 1) * exp2(random.uniform(-20, 20)) }
            _ = host.own.elements.update(fromContentsOf: plain.elements)
            try messages.finish()
            var announced = 0
            let check = { (part: UnsafeMutableBufferPointer<Float>) in
                guard let first = part.baseAddress, !part.isEmpty else { return }
                let offset = first - shared.sums.pointer
                if part.elementsEqual(plain[offset..<offset + part.count]) { announced += part.count }
            }
            var offset = 0
            while random.below(8) > 0 {
                offset += random.below(count - offset + 1)
                try shared.ready(upTo: offset, summed: check)
            }
            try shared.finish(summed: check)
            let place = "\(count) gradients in buckets of \(bucketElements), step \(step)"
            let own = shared.parts.map(\.count).reduce(0, +)
            try require(announced == own, "\(place): \(announced) of \(own) sums were announced")
            try require(try world.allReduceSum(Int64(own)) == Int64(count), "\(place): parts overlap or lack some")
            try shared.gatherSums()
            let bits = zip(host.own.elements, plain.elements).allSatisfy { $0.bitPattern == $1.bitPattern }
            try require(bits, "\(place): other bits than by messages")
            try require(host.own[count..<count + rest].allSatisfy { $0 == 0 }, "\(place): more is summed")
            try require(try shared.agree(world.rank > 0) == false, "all agree though one does not")
            try require(try shared.agree(true), "not all agree")
        }
    }
}

/// Rank zero hangs in backward, before the third of four buckets.
func lateBucket(_ world: Communicator) throws {
    let watchdog = try startWatchdog(world)
    defer { watchdog.deregister() }
    let host = try allocate(world, count: 400)
    let reduce = GradientAllReduce(communicator: world, gradients: host.own, host: host, bucketElements: 100)
    world.progress.beginStep(7)
    world.progress.enter("backward")
    // Rank zero hangs once two barriers have ended for it: then they can end for the others as well.
    var summed = 0
    repeat { try reduce.ready(upTo: 250) { _ in summed += 1 } } while world.rank == 0 && summed < 2
    while world.rank == 0 { pause() }
    try reduce.finish()
}
