internal import COpenMPI
import Glibc
import Support

/// How an error found by one rank ends all of them, in seconds and without a hang.
extension Communicator {
    /// Collective: runs `body` on every rank; if it throws on any, all ranks throw the failure of the lowest rank where
    /// it did.
    ///
    /// A failure of a rank other than zero has that rank before its message; an error that is no `Failure` becomes
    /// `.internal`. The call waits for the slowest rank.
    ///
    /// - Precondition: `body` makes no collective call; the ranks that still work would wait in it for those that
    ///   have failed.
    package func agree<T>(_ body: () throws -> T) throws -> T {
        let result = Result(catching: body)
        // The maximum of `size − rank` over the failing ranks belongs to the lowest of them; zero means that none
        // failed.
        var distance = Int64(0)
        if case .failure = result { distance = Int64(size - rank) }
        try withUnsafeMutablePointer(to: &distance) {
            try allReduceMax(UnsafeMutableBufferPointer(start: $0, count: 1))
        }
        guard distance > 0 else { return try result.get() }

        let root = size - Int(distance)
        var own: Failure?
        if rank == root, case .failure(let error) = result { own = Failure(wrapping: error) }
        let code = try broadcast(own?.kind.rawValue ?? 0, from: root)
        let message = try broadcast(bytes: own.map { Array($0.message.utf8) }, from: root)
        let failure = Failure(Failure.Kind(rawValue: code)!, String(decoding: message, as: UTF8.self)).from(rank: root)
        agreedFailure = failure
        throw failure
    }

    /// Not collective, but for a failure that all ranks have found together, in the same words: they throw it in good
    /// order, as one that `agree` has thrown.
    package func agreed(_ failure: Failure) -> Failure {
        agreedFailure = failure
        return failure
    }

    /// Collective: the ranks whose value is not that of rank zero, ascending. All ranks get the same answer.
    package func ranksDiffering(from hash: UInt64) throws -> [Int] {
        let hashes = try allGather(hash)
        return hashes.indices.filter { hashes[$0] != hashes[0] }
    }

    /// Ends all ranks at once with the kind's exit code (`MPI_Abort`): for an error that the other ranks do not know
    /// of.
    ///
    /// Nothing is finalised or freed; what has been printed is flushed. Not collective.
    package func abort(_ kind: Failure.Kind) -> Never {
        fflush(nil)
        if size > 1 { MPI_Abort(handle, kind.rawValue) }
        exit(kind.rawValue)
    }
}

extension Failure {
    /// The error itself if it is a `Failure`; any other is the program's own fault.
    init(wrapping error: any Error) {
        self = error as? Failure ?? Failure(.internal, String(describing: error))
    }

    /// The failure as the other ranks should see it: with the rank that has it, unless that is rank zero.
    func from(rank: Int) -> Failure {
        rank == 0 ? self : Failure(kind, "rank \(rank): \(message)")
    }
}
