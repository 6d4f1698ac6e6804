/// Lines of values separated by commas or tabs (RFC 4180).
package enum SeparatedValues {
    /// The values of a line: a value in double quotes may contain separators, and quotes as two.
    ///
    /// - Returns: nil for a quote that does not end, or text after it.
    package static func fields(of line: Substring, separator: Character) -> [String]? {
        var fields: [String] = []
        var rest = line
        while true {
            if rest.first == "\"" {
                guard let (field, after) = quoted(rest.dropFirst()) else { return nil }
                fields.append(field)
                rest = after
                guard rest.isEmpty || rest.first == separator else { return nil }
            } else {
                let field = rest.prefix { $0 != separator }
                fields.append(String(field))
                rest = rest.dropFirst(field.count)
            }
            guard !rest.isEmpty else { return fields }
            rest = rest.dropFirst()
        }
    }

    private static func quoted(_ text: Substring) -> (field: String, rest: Substring)? {
        var (field, rest) = ("", text)
        while let quote = rest.firstIndex(of: "\"") {
            field += rest[..<quote]
            rest = rest[rest.index(after: quote)...]
            guard rest.first == "\"" else { return (field, rest) }
            field += "\""
            rest = rest.dropFirst()
        }
        return nil
    }
}
