/// The time of a message: `latency` and the time of its bytes at `bandwidth` (the α–β model).
package struct Link: Sendable, Equatable, Codable {
    /// Seconds.
    package var latency: Double
    /// Bytes per second.
    package var bandwidth: Double

    package init(latency: Double, bandwidth: Double) {
        self.latency = latency
        self.bandwidth = bandwidth
    }

    package func seconds(bytes: Double) -> Double { latency + bytes / bandwidth }
}

/// How ranks on one host and on several reach each other.
package struct Machine: Sendable, Equatable, Codable {
    /// Ranks on a host at most; consecutive ranks fill a host before the next.
    package var ranksPerHost: Int
    /// A round of a small sum between two ranks of a host.
    package var local: Link
    /// Bytes per second at which two ranks of a host sum gradients; the cores that compute do it.
    package var localGradients: Double
    /// Between two hosts, for all ranks of a host together.
    package var network: Link

    package init(ranksPerHost: Int, local: Link, localGradients: Double, network: Link) {
        self.ranksPerHost = ranksPerHost
        self.local = local
        self.localGradients = localGradients
        self.network = network
    }

    /// Two cores of an AMD EPYC under Open MPI 4.1, in shared memory, and a network of 100 Gbit/s.
    package static let assumed = Machine(
        ranksPerHost: 16, local: Link(latency: 3e-6, bandwidth: 5e9), localGradients: 2e9,
        network: Link(latency: 2e-6, bandwidth: 12e9))

    package func hosts(ranks: Int) -> Int { (ranks - 1) / ranksPerHost + 1 }
    /// The ranks of the fullest host.
    package func localRanks(ranks: Int) -> Int { min(ranks, ranksPerHost) }

    /// Seconds of a sum of a few float64 values over all ranks, by recursive doubling: each round exchanges all values
    /// with one other rank, within the hosts first. Where the rounds cross hosts, all ranks of a host share its link.
    package func sum(values: Int, ranks: Int) -> Double {
        let bytes = 8 * Double(values)
        let (within, across) = (localRanks(ranks: ranks), hosts(ranks: ranks))
        return Double(Self.rounds(within)) * local.seconds(bytes: bytes)
            + Double(Self.rounds(across)) * network.seconds(bytes: bytes * Double(within))
    }

    /// Exchanges one after the other until all of some ranks have the sum. A number that is no power of two takes two
    /// more: the ranks beyond hand in their values first and are handed the sums last.
    package static func rounds(_ ranks: Int) -> Int {
        let doublings = Int.bitWidth - 1 - max(ranks, 1).leadingZeroBitCount
        return doublings + (1 << doublings == ranks ? 0 : 2)
    }
}

/// How a step sums its gradients: in buckets, as backward finishes them. Each is summed over the ranks of a host, in
/// shared memory or by messages, and by a binomial tree to one host and back (`MPI_Iallreduce` in place).
package struct GradientExchange: Sendable, Equatable {
    /// Elements of a bucket; the last may have fewer.
    package var bucketElements: Int

    package init(bucketElements: Int) { self.bucketElements = bucketElements }

    /// What a training step does. A test compares it with the calls of real ranks.
    package static let buckets = GradientExchange(bucketElements: 65_536)

    /// The elements of each bucket.
    package func bucketSizes(gradientCount: Int) -> [Int] {
        stride(from: 0, to: gradientCount, by: bucketElements).map { min(bucketElements, gradientCount - $0) }
    }

    /// How many buckets are full once gradients are final up to an element.
    package func readyBuckets(upTo offset: Int, gradientCount: Int) -> Int {
        offset == gradientCount ? (gradientCount + bucketElements - 1) / bucketElements : offset / bucketElements
    }

    /// Seconds in which the cores of a host are busy with a bucket.
    package func localSeconds(elements: Int, ranks: Int, on machine: Machine) -> Double {
        Double(Machine.rounds(machine.localRanks(ranks: ranks))) * 4 * Double(elements) / machine.localGradients
    }

    /// Seconds in which a bucket's bytes keep the busiest link busy, on their way up the tree; they travel while ranks
    /// compute. On their way back they take as long in the link's other direction, beside the next bucket's.
    package func networkSeconds(elements: Int, ranks: Int, on machine: Machine) -> Double {
        rounds(ranks: ranks, on: machine) * 4 * Double(elements) / machine.network.bandwidth
    }

    /// Seconds from the last bucket's bytes at the top of the tree to its sum everywhere: its way back, and the
    /// latencies of its messages. Those of the buckets before it pass while other buckets are on their way.
    package func secondsBack(elements: Int, ranks: Int, on machine: Machine) -> Double {
        networkSeconds(elements: elements, ranks: ranks, on: machine)
            + 2 * rounds(ranks: ranks, on: machine) * machine.network.latency
    }

    private func rounds(ranks: Int, on machine: Machine) -> Double {
        Double(Machine.rounds(machine.hosts(ranks: ranks)))
    }
}
