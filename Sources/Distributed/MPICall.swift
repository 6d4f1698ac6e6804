internal import COpenMPI
import Glibc
import Support

/// The funnel of all MPI calls: a return code other than success becomes a `Failure` that names the call and the rank.
///
/// MPI returns its errors, rather than ending the process, because `MPIEnvironment` sets `MPI_ERRORS_RETURN`.
func checked(_ call: String, _ code: Int32) throws {
    guard code != MPI_SUCCESS else { return }
    throw Failure(.unavailable, "\(call) failed on rank \(MPIEnvironment.currentRank): \(errorString(code))")
}

/// MPI's own words for a return code.
private func errorString(_ code: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_ERROR_STRING) + 1) { text in
        text.initialize(repeating: 0)
        var length: Int32 = 0
        guard MPI_Error_string(code, text.baseAddress, &length) == MPI_SUCCESS else { return "error \(code)" }
        return String(cString: text.baseAddress!)
    }
}
