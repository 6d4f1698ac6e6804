import Glibc

/// Decides which process of a host reports to the user when there is no shared folder: by an abstract socket name,
/// which only one process can own and which the system releases when it exits.
struct ReportClaim: Sendable {
    /// Shared by the processes of a job on one host, and by no others.
    let name: String

    /// Whether this process becomes the one that reports. It then owns the name until it exits.
    func take() -> Bool {
        let descriptor = makeSocket()
        return withAddress { bind(descriptor, $0, $1) == 0 || errno != EADDRINUSE }
    }

    /// Whether a process of this host has taken the claim.
    var isTaken: Bool {
        let descriptor = makeSocket()
        defer { close(descriptor) }
        return withAddress { connect(descriptor, $0, $1) == 0 }
    }

    private func makeSocket() -> Int32 { socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0) }

    private func withAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // A leading zero makes the name abstract: no file is created.
        withUnsafeMutableBytes(of: &address.sun_path) { $0[1...].copyBytes(from: name.utf8) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.utf8.count)
        return withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}
