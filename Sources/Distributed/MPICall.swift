internal import COpenMPI
import Support

/// Checks the return code of an MPI call; any but success becomes a `Failure` that names the call and the rank.
///
/// MPI returns errors instead of ending the process because `MPIEnvironment` sets `MPI_ERRORS_RETURN`.
func checked(_ call: String, _ code: Int32) throws {
    guard code != MPI_SUCCESS else { return }
    throw Failure(.unavailable, "\(call) failed on rank \(MPIEnvironment.currentRank): \(errorString(code))")
}

/// MPI's text for a return code (`MPI_Error_string`).
private func errorString(_ code: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_ERROR_STRING) + 1) { text in
        text.initialize(repeating: 0)
        var length: Int32 = 0
        guard MPI_Error_string(code, text.baseAddress, &length) == MPI_SUCCESS else { return "error \(code)" }
        return String(cString: text.baseAddress!)
    }
}
