internal import COpenMPI
import Glibc

/// Some of the ranks among themselves, while the others leave their cores alone.
extension Communicator {
    /// Collective: the first `count` ranks among themselves; nil on the others (`MPI_Comm_split`).
    ///
    /// A failure that only the members agree on is not known to the other ranks: throw it to all of these.
    package func first(_ count: Int) throws -> Communicator? {
        try subset(rank < count ? 0 : nil)
    }

    /// Collective: each rank for itself (`MPI_Comm_split`). What it does with the result needs no other rank.
    package func single() throws -> Communicator { try subset(rank)! }

    /// - Parameter group: ranks with the same number form a group; nil for none.
    private func subset(_ group: Int?) throws -> Communicator? {
        guard size > 1 else { return self }
        var part: MPI_Comm?
        try checked(
            "MPI_Comm_split", MPI_Comm_split(handle, group.map { Int32($0) } ?? MPI_UNDEFINED, Int32(rank), &part))
        return try group.map { _ in try Communicator(handle: part!) }
    }

    /// Collective: as `barrier`, but a rank that waits sleeps, so that its core and memory are the others'
    /// (`MPI_Ibarrier`). May return some milliseconds late.
    package func sleepUntilAllArrive() throws {
        guard size > 1 else { return }
        try collective("MPI_Ibarrier") {
            var request: MPI_Request?
            var code = MPI_Ibarrier(handle, &request)
            var isDone: Int32 = 0
            while code == MPI_SUCCESS {
                code = MPI_Test(&request, &isDone, cmpi_status_ignore())
                if isDone != 0 { break }
                usleep(Self.napMicroseconds)
            }
            return code
        }
    }

    private static let napMicroseconds: UInt32 = 5000
}
