/// What went wrong, in one line that a person can act on, and the exit code that a script can act on.
///
/// Every error that can reach a user is a `Failure`. The message names the file, the value found, what was expected and
/// what to do. A parameter that the caller has given stands in it by its name, in backticks: `batchSize`; the program
/// puts its option in that place.
public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of a failure; its raw value is the exit code (as in BSD's `sysexits.h`).
    public enum Kind: Int32, Sendable {
        /// A comparison was made and its two sides differ.
        case differs = 1
        /// The command line asks for something that cannot be.
        case usage = 64
        /// A file is not what it should be.
        case data = 65
        /// A file or folder is not there, or cannot be read.
        case noInput = 66
        /// The system refuses: no space, no permission to write, MPI gone, a deadline passed.
        case unavailable = 69
        /// The program's own fault.
        case `internal` = 70
        /// Stopped on request after writing a checkpoint; resuming goes on from there.
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
