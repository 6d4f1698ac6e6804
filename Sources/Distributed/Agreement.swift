internal import COpenMPI
import Glibc
import Support

/// Error handling across ranks: an error on one rank ends all of them, in an orderly way and without a hang.
extension Communicator {
    /// Collective: runs `body` on every rank. If it throws on any, all ranks throw the failure of the lowest such rank
    /// (`MPI_Allreduce`; after an error also `MPI_Bcast`). Waits for the slowest rank.
    ///
    /// The failure of a rank other than 0 names the rank. An error that is not a `Failure` becomes `.internal`.
    ///
    /// - Precondition: `body` makes no collective calls; the other ranks would wait in them for one that has failed.
    /// - Returns: what `body` returned on this rank.
    public func throwOnAllRanks<T>(_ body: () throws -> T) throws -> T {
        let result = Result(catching: body)
        // The lowest failing rank has the maximum of `size − rank`; 0 means that none failed.
        var distance = Int64(0)
        if case .failure = result { distance = Int64(size - rank) }
        distance = try allReduceMax(distance)
        guard distance > 0 else { return try result.get() }

        let root = size - Int(distance)
        var own: Failure?
        if rank == root, case .failure(let error) = result { own = Failure(wrapping: error) }
        let code = try broadcast(own?.kind.rawValue ?? 0, from: root)
        let message = try broadcast(bytes: own.map { Array($0.message.utf8) }, from: root)
        throw markAgreed(
            Failure(Failure.Kind(rawValue: code)!, String(decoding: message, as: UTF8.self)).naming(rank: root))
    }

    /// Marks a failure that every rank has derived identically, so that `MPIEnvironment.run` ends cleanly instead of
    /// aborting the job. Not collective, but every rank must call it and then throw the failure.
    package func markAgreed(_ failure: Failure) -> Failure {
        agreedFailure = failure
        return failure
    }

    /// Collective: the ranks whose value differs from rank 0's, ascending (`MPI_Allgather`). The same on all ranks.
    package func ranksDiffering(from hash: UInt64) throws -> [Int] {
        let hashes = try allGather(hash)
        return hashes.indices.filter { hashes[$0] != hashes[0] }
    }

    /// Ends all ranks at once with the kind's exit code (`MPI_Abort`), for an error that the other ranks do not know
    /// of. Not collective. Flushes the output but neither finalizes MPI nor frees anything.
    func abort(_ kind: Failure.Kind) -> Never {
        fflush(nil)
        if size > 1 { MPI_Abort(handle, kind.rawValue) }
        exit(kind.rawValue)
    }
}

extension Failure {
    /// The error itself if it is a `Failure`, else one of kind `.internal`.
    init(wrapping error: any Error) {
        self = error as? Failure ?? Failure(.internal, String(describing: error))
    }

    /// The failure with its rank in front of the message, unless it is rank 0's.
    func naming(rank: Int) -> Failure {
        rank == 0 ? self : Failure(kind, "rank \(rank): \(message)")
    }
}
