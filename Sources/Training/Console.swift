import Glibc

/// Lines for the user, from rank zero.
public enum Console {
    /// A line of results, on standard output, seen at once even through a pipe.
    public static func say(_ line: String) {
        write(printable(line, exceptFor: "\n"), to: STDOUT_FILENO)
    }

    /// A line of warning, on standard error.
    public static func note(_ line: String) {
        write("densenet: \(printable(line))", to: STDERR_FILENO)
    }

    /// Words from a file could else break the line or command the terminal.
    private static func printable(_ line: String, exceptFor kept: Unicode.Scalar? = nil) -> String {
        let scalars = line.unicodeScalars.map { scalar in
            scalar.properties.generalCategory == .control && scalar != kept ? "\u{FFFD}" : scalar
        }
        let text = String(String.UnicodeScalarView(scalars))
        // Of the signs beyond ASCII that the program's own words have.
        return Terminal.showsUnicode ? text : text.replacing("×", with: "x").replacing("→", with: "->").replacing("…", with: "...")
    }

    /// Unbuffered, so that lines of the two streams keep their order; a reader that is gone is no reason to stop.
    private static func write(_ line: String, to descriptor: Int32) {
        var text = line + "\n"
        text.withUTF8 { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }
}

extension Double {
    /// As 1.2e-05.
    public var scientific: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { text in
            _ = withVaList([self]) { vsnprintf(text.baseAddress!, text.count, "%.1e", $0) }
            return String(cString: text.baseAddress!)
        }
    }

    /// With so many digits behind the point, as C's `%.*f`.
    public func formatted(places: Int, width: Int = 0) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 400) { text in
            _ = withVaList([Int32(width), Int32(places), self]) { vsnprintf(text.baseAddress!, text.count, "%*.*f", $0) }
            return String(cString: text.baseAddress!)
        }
    }
}
