internal import COpenMPI
import Glibc
import Support

/// Memory that the ranks of a host share (MPI 3.1, section 11.2.3), a segment of each rank.
///
/// Freeing it is collective, so no `deinit` does it: the communicator does, once no rank of the host uses it.
final class SharedWindow {
    /// The segments of all ranks of the host, at 64-byte boundaries.
    let segments: [UnsafeMutableRawPointer]
    private var handle: MPI_Win?

    /// Collective over the ranks of the host (`MPI_Win_allocate_shared`). Every rank has to agree afterwards that none
    /// of them threw.
    ///
    /// - Parameter bytes: of this rank's segment; may differ between ranks.
    /// - Throws: `Failure(.unavailable)` if MPI reports an error.
    init(bytes: Int, on communicator: Communicator) throws {
        var info: MPI_Info?
        try checked("MPI_Info_create", MPI_Info_create(&info))
        // Each segment in pages of its own: its rank's memory node has them.
        try checked("MPI_Info_set", MPI_Info_set(info, "alloc_shared_noncontig", "true"))
        var (own, window): (UnsafeMutableRawPointer?, MPI_Win?)
        defer { MPI_Info_free(&info) }
        try withUnsafeMutablePointer(to: &own) { own in
            try communicator.collective("MPI_Win_allocate_shared") {
                MPI_Win_allocate_shared(bytes + Self.alignment, 1, info, communicator.hostHandle, own, &window)
            }
        }
        handle = window
        try checked("MPI_Win_set_errhandler", MPI_Win_set_errhandler(window, cmpi_errors_return()))
        // Plain loads and stores are allowed within an epoch; this one lasts as long as the window.
        try checked("MPI_Win_lock_all", MPI_Win_lock_all(Int32(MPI_MODE_NOCHECK), window))
        segments = try (0..<communicator.localSize).map { rank in
            var (size, unit, segment) = (MPI_Aint(0), Int32(0), UnsafeMutableRawPointer?.none)
            let code = withUnsafeMutablePointer(to: &segment) {
                MPI_Win_shared_query(window, Int32(rank), &size, &unit, $0)
            }
            try checked("MPI_Win_shared_query", code)
            // Segments begin at page boundaries, or all ranks find the same distance to one.
            return segment!.alignedUp(toMultipleOf: Self.alignment)
        }
    }

    private static let alignment = 64

    /// Makes this rank's stores visible to the others that it synchronizes with, and theirs to it (`MPI_Win_sync`).
    func synchronize() throws { try checked("MPI_Win_sync", MPI_Win_sync(handle)) }

    /// Collective over the ranks of the host (`MPI_Win_free`). No buffer in the window may be used afterwards.
    func free(on communicator: Communicator) throws {
        try checked("MPI_Win_unlock_all", MPI_Win_unlock_all(handle))
        try communicator.collective("MPI_Win_free") { MPI_Win_free(&handle) }
    }

    /// The folder where Open MPI keeps windows, and the bytes that are free there.
    static var room: (folder: String, bytes: Int) {
        let folder = getenv("OMPI_MCA_osc_sm_backing_directory").map { String(cString: $0) } ?? "/dev/shm"
        var status = statvfs()
        guard statvfs(folder, &status) == 0 else { return (folder, 0) }
        return (folder, Int(clamping: status.f_bavail * UInt(status.f_frsize)))
    }
}

extension Communicator {
    /// Collective (`MPI_Allreduce`, `MPI_Win_free`): frees the windows that no rank uses any more.
    package func freeUnusedWindows() throws {
        var kept: [SharedWindow] = []
        while var window = windows.popLast() {
            if try allReduceMax(isKnownUniquelyReferenced(&window) ? Int32(0) : 1) > 0 {
                kept.insert(window, at: 0)
            } else {
                try window.free(on: self)
            }
        }
        windows = kept
    }

    /// Collective (`MPI_Win_free`, `MPI_Comm_free`): frees what the ranks of the host share. Nothing may use it any
    /// more.
    func releaseHost() throws {
        for window in windows { try window.free(on: self) }
        windows = []
        for handle in [hostHandle, acrossHostsHandle] {
            var handle: MPI_Comm? = handle
            try collective("MPI_Comm_free") { MPI_Comm_free(&handle) }
        }
    }
}
