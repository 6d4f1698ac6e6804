import ArgumentParser
import FoundationEssentials
import Support
import Synchronization
import SystemPackage

/// Lines for the user, from rank zero.
enum Console {
    /// What makes a line stand out on a terminal.
    enum Colour: Int {
        case green = 32
    }

    /// A line of results, on standard output, seen at once even through a pipe.
    static func say(_ line: String, in colour: Colour? = nil) {
        var text = printable(line, exceptFor: "\n")
        if let colour, Terminal.showsColour { text = "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m" }
        do { try write(text, to: .standardOutput) } catch Errno.brokenPipe {} catch {
            lostOutput.withLock {
                $0 = $0 ?? Failure(.unavailable, "standard output cannot be written: \(error)")
            }
        }
    }

    /// Results for other programs, on standard output: JSON, keys sorted; what is no number as text.
    static func say(json value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
        say(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// The first line of results that could not be written; a reader that is gone is no reason to fail.
    private static let lostOutput = Mutex<Failure?>(nil)

    /// For a command whose lines are its result.
    ///
    /// - Throws: `Failure(.unavailable)` where a line was lost.
    static func demandWholeOutput() throws {
        if let failure = lostOutput.withLock({ $0 }) { throw failure }
    }

    /// For a command whose result is elsewhere: says, once, that a line was lost.
    static func forgiveLostOutput() {
        let failure = lostOutput.withLock { lost in
            defer { lost = nil }
            return lost
        }
        if let failure { note("\(failure); the run went on without") }
    }

    /// A line of warning, on standard error.
    static func note(_ line: String) {
        try? write("\(ProgressLine.takeErasure())densenet: \(printable(line))", to: .standardError)
    }

    /// Words from a file could else break the line or command the terminal.
    private static func printable(_ line: String, exceptFor kept: Unicode.Scalar? = nil) -> String {
        let scalars = line.unicodeScalars.map { scalar in
            scalar.properties.generalCategory == .control && scalar != kept ? "\u{FFFD}" : scalar
        }
        let text = String(String.UnicodeScalarView(scalars))
        // Of the signs beyond ASCII that the program's own words have.
        return Terminal.showsUnicode
            ? text : text.replacing("×", with: "x").replacing("→", with: "->").replacing("…", with: "...")
    }

    /// Unbuffered, so that lines of the two streams keep their order.
    private static func write(_ line: String, to stream: FileDescriptor) throws {
        try stream.writeAll((line + "\n").utf8)
    }
}

/// The option that has results printed for other programs.
struct JSONOptions: ParsableArguments {
    @Flag(name: .customLong("json"), help: "Print the results as JSON.")
    var isOn = false
}
