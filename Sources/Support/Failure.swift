/// An error with a one-line message for the user and an exit code for scripts.
///
/// Every error that can reach a user is a `Failure`. The message names the file, the value found, what was expected and
/// what to do. It names the caller's parameters in backticks, such as `batchSize`; the command-line program replaces
/// them by its options.
public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of a failure; its raw value is the exit code (as in BSD's `sysexits.h`).
    public enum Kind: Int32, Sendable {
        /// The two sides of a comparison differ.
        case differs = 1
        /// An invalid argument, or arguments that contradict each other.
        case usage = 64
        /// A file with invalid contents.
        case data = 65
        /// A file or folder that does not exist or cannot be read.
        case noInput = 66
        /// The system refuses: no space, no memory, no permission to write, an MPI error, a timeout.
        case unavailable = 69
        /// A bug in the program.
        case `internal` = 70
        /// Stopped on request after writing a checkpoint; the run can be resumed from it.
        case stopped = 75
    }

    /// Decides the exit code.
    public let kind: Kind
    /// One line, without a full stop or the name of the program.
    public let message: String

    /// A failure of a kind, with a line for the user.
    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    /// The message.
    public var description: String { message }
}
