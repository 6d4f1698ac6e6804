import Planning

/// Runs the messages of some ranks' collective calls in one process, on a clock of each rank's: who sends to whom, in
/// which order and how much, without any numbers in it. A rank goes on until it needs a message that is not there.
final class RankSimulation {
    /// A call of a rank, with what it computes before.
    enum Call: Equatable {
        case compute(seconds: Double)
        /// `MPI_Allreduce` by recursive doubling.
        case sum(values: Int)
        /// `MPI_Bcast` of one value by a binomial tree from rank zero.
        case broadcast
        /// `MPI_Iallreduce` by binomial trees to rank zero and back, which goes on by itself.
        case start(elements: Int)
        /// `MPI_Wait` for each of these.
        case waitForAll
    }

    enum Problem: Error, Equatable {
        /// So many ranks wait for messages that nobody sends.
        case deadlock(ranks: Int)
        /// A rank has been sent part of another call than it is in.
        case differs(rank: Int)
    }

    /// What a rank sends and awaits in a call; `slot` tells the receiver's messages of a call apart.
    private enum Move {
        case send(to: Int, slot: Int)
        case receive(slot: Int)
    }

    private struct Message {
        let call: Int
        let bytes: Int
        let arrival: Double
    }

    /// A call under way.
    private struct Activity {
        var call = 0
        var bytes = 0
        var isShared = false
        var moves: [Move] = []
        var next = 0
        var clock = 0.0
        var isDone: Bool { next == moves.count }
    }

    private struct Rank {
        var calls: [Call]
        var next = 0
        var clock = 0.0
        var blocking = Activity()
        var isInCall = false
        /// Nonblocking calls since the last wait.
        var started: [Activity] = []
        var callCount = 0
        var startCount = 0
        /// Per slot of a blocking call, in the order of arrival.
        var inbox: [[Message]]
        /// Of nonblocking calls, by number and slot.
        var tagged: [Int: Message] = [:]
        var undelivered = 0
        var partners: Set<Int> = []
    }

    private let machine: Machine
    private var ranks: [Rank]
    private let slots: Int
    private let sumMoves, treeMoves, broadcastMoves: [[Move]]
    private var runnable: [Int]

    /// The longest that a rank has waited for one message; the most messages that lay before a rank, and requests that
    /// it had under way; the most other ranks that one has sent to.
    private(set) var longestWait = 0.0
    private(set) var mostUndelivered = 0
    private(set) var mostRequests = 0
    private(set) var messages = 0
    var seconds: Double { ranks.map(\.clock).max()! }
    var mostPartners: Int { ranks.map(\.partners.count).max()! }

    /// - Parameter calls: of a rank.
    init(ranks count: Int, on machine: Machine, calls: (Int) -> [Call]) {
        self.machine = machine
        let doublings = Int.bitWidth - 1 - count.leadingZeroBitCount
        slots = doublings + 3
        sumMoves = (0..<count).map { Self.recursiveDoubling($0, of: count, doublings) }
        broadcastMoves = (0..<count).map { Self.binomialBroadcast($0, of: count, slot: doublings + 2) }
        treeMoves = (0..<count).map {
            Self.binomialReduce($0, of: count) + Self.binomialBroadcast($0, of: count, slot: doublings + 2)
        }
        let slots = slots
        ranks = (0..<count).map { Rank(calls: calls($0), inbox: Array(repeating: [], count: slots)) }
        runnable = Array((0..<count).reversed())
    }

    private static func recursiveDoubling(_ rank: Int, of count: Int, _ doublings: Int) -> [Move] {
        let extra = count - 1 << doublings
        // Of the first ranks the even ones hand in their values to the next and are handed the sums last.
        if rank < 2 * extra, rank % 2 == 0 {
            return [.send(to: rank + 1, slot: doublings), .receive(slot: doublings + 1)]
        }
        let own = rank < 2 * extra ? rank / 2 : rank - extra
        let rounds = (0..<doublings).flatMap { round -> [Move] in
            let other = own ^ 1 << round
            return [.send(to: other < extra ? 2 * other + 1 : other + extra, slot: round), .receive(slot: round)]
        }
        guard rank < 2 * extra else { return rounds }
        return [.receive(slot: doublings)] + rounds + [.send(to: rank - 1, slot: doublings + 1)]
    }

    private static func binomialReduce(_ rank: Int, of count: Int) -> [Move] {
        var (moves, bit, slot) = ([Move](), 1, 0)
        while bit < count {
            if rank & bit != 0 { return moves + [.send(to: rank - bit, slot: slot)] }
            if rank + bit < count { moves.append(.receive(slot: slot)) }
            (bit, slot) = (bit << 1, slot + 1)
        }
        return moves
    }

    private static func binomialBroadcast(_ rank: Int, of count: Int, slot: Int) -> [Move] {
        var bit = 1
        while bit < count, rank & bit == 0 { bit <<= 1 }
        var moves: [Move] = rank == 0 ? [] : [.receive(slot: slot)]
        while bit > 1 {
            bit >>= 1
            if rank + bit < count { moves.append(.send(to: rank + bit, slot: slot)) }
        }
        return moves
    }

    /// Runs all ranks to their ends.
    func run() throws {
        while let rank = runnable.popLast() { try advance(rank) }
        let left = ranks.count { $0.next < $0.calls.count || $0.isInCall }
        guard left == 0 else { throw Problem.deadlock(ranks: left) }
        let unread = ranks.firstIndex { $0.undelivered > 0 }
        if let unread { throw Problem.differs(rank: unread) }
    }

    private func advance(_ rank: Int) throws {
        for index in ranks[rank].started.indices where !ranks[rank].started[index].isDone {
            try move(rank, started: index)
        }
        while true {
            if ranks[rank].isInCall {
                try move(rank, started: nil)
                guard ranks[rank].blocking.isDone else { return }
                ranks[rank].isInCall = false
                ranks[rank].clock = ranks[rank].blocking.clock
            }
            guard ranks[rank].next < ranks[rank].calls.count else { return }
            let call = ranks[rank].calls[ranks[rank].next]
            if case .waitForAll = call {
                guard ranks[rank].started.allSatisfy(\.isDone) else { return }
                ranks[rank].clock = ranks[rank].started.reduce(ranks[rank].clock) { max($0, $1.clock) }
                ranks[rank].started.removeAll(keepingCapacity: true)
            }
            ranks[rank].next += 1
            switch call {
            case .waitForAll: break
            case .compute(let seconds): ranks[rank].clock += seconds
            case .sum(let values): begin(rank, bytes: 8 * values, isShared: true, sumMoves[rank])
            case .broadcast: begin(rank, bytes: 8, isShared: false, broadcastMoves[rank])
            case .start(let elements):
                ranks[rank].started.append(
                    Activity(
                        call: ranks[rank].startCount, bytes: 4 * elements, moves: treeMoves[rank],
                        clock: ranks[rank].clock))
                ranks[rank].startCount += 1
                mostRequests = max(mostRequests, ranks[rank].started.count)
                try move(rank, started: ranks[rank].started.count - 1)
            }
        }
    }

    private func begin(_ rank: Int, bytes: Int, isShared: Bool, _ moves: [Move]) {
        ranks[rank].blocking = Activity(
            call: ranks[rank].callCount, bytes: bytes, isShared: isShared, moves: moves, clock: ranks[rank].clock)
        ranks[rank].callCount += 1
        ranks[rank].isInCall = true
    }

    /// Takes a call as far as there are messages for it.
    private func move(_ rank: Int, started index: Int?) throws {
        var activity = index.map { ranks[rank].started[$0] } ?? ranks[rank].blocking
        let tag = index.map { _ in activity.call }
        moves: while !activity.isDone {
            switch activity.moves[activity.next] {
            case .send(let other, let slot):
                send(activity, from: rank, to: other, slot: slot, tag: tag)
            case .receive(let slot):
                guard let message = take(rank, slot: slot, tag: tag) else { break moves }
                guard message.call == activity.call, message.bytes == activity.bytes else {
                    throw Problem.differs(rank: rank)
                }
                longestWait = max(longestWait, message.arrival - activity.clock)
                activity.clock = max(activity.clock, message.arrival)
            }
            activity.next += 1
        }
        if let index { ranks[rank].started[index] = activity } else { ranks[rank].blocking = activity }
    }

    private func send(_ activity: Activity, from rank: Int, to other: Int, slot: Int, tag: Int?) {
        let message = Message(
            call: activity.call, bytes: activity.bytes,
            arrival: activity.clock + seconds(activity, from: rank, to: other))
        if let tag {
            ranks[other].tagged[tag * slots + slot] = message
        } else {
            ranks[other].inbox[slot].append(message)
        }
        ranks[rank].partners.insert(other)
        ranks[other].undelivered += 1
        messages += 1
        mostUndelivered = max(mostUndelivered, ranks[other].undelivered)
        runnable.append(other)
    }

    private func seconds(_ activity: Activity, from rank: Int, to other: Int) -> Double {
        let bytes = Double(activity.bytes)
        guard rank / machine.ranksPerHost == other / machine.ranksPerHost else {
            // In a sum all ranks of a host send at the same time.
            let share = activity.isShared ? Double(machine.localRanks(ranks: ranks.count)) : 1
            return machine.network.seconds(bytes: bytes * share)
        }
        return activity.isShared ? machine.local.seconds(bytes: bytes) : bytes / machine.localGradients
    }

    private func take(_ rank: Int, slot: Int, tag: Int?) -> Message? {
        if let tag {
            guard let message = ranks[rank].tagged.removeValue(forKey: tag * slots + slot) else { return nil }
            ranks[rank].undelivered -= 1
            return message
        }
        guard !ranks[rank].inbox[slot].isEmpty else { return nil }
        ranks[rank].undelivered -= 1
        return ranks[rank].inbox[slot].removeFirst()
    }
}
