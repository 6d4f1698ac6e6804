/// A piece of HTML or SVG that is well-formed XML as well. Text becomes markup here alone, escaped.
struct Markup: ExpressibleByStringInterpolation, CustomStringConvertible {
    let description: String

    /// Text, such as a name that a file brings.
    init(_ text: String) { description = Self.escaped(text) }

    /// Text.
    init(stringLiteral text: String) { self.init(text) }

    /// Markup one after the other.
    init(_ parts: [Markup]) { description = parts.map(\.description).joined() }

    /// What the program itself has written as markup, such as a style sheet.
    init(trusted markup: String) { description = markup }

    /// An element. Attributes are escaped as text is.
    static func tag(_ name: String, _ attributes: [(String, String)] = [], _ children: [Markup] = []) -> Markup {
        let start = "<" + name + attributes.map { " \($0.0)=\"\(escaped($0.1))\"" }.joined()
        guard !children.isEmpty || !selfClosing.contains(name) else { return Markup(trusted: start + "/>") }
        return Markup(trusted: "\(start)>\(Markup(children))</\(name)>")
    }

    /// An element of a class.
    static func tag(_ name: String, class style: String, _ children: [Markup] = []) -> Markup {
        tag(name, [("class", style)], children)
    }

    /// Those that may be written `<name/>` in HTML: its own without an end, and those of SVG.
    private static let selfClosing: Set = ["br", "circle", "img", "line", "meta", "path", "polyline", "rect"]

    private static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "\n", "\t": result.unicodeScalars.append(scalar)
            // XML has no other control characters, and two more that are none.
            case _ where scalar.properties.generalCategory == .control, "\u{FFFE}", "\u{FFFF}": result += "\u{FFFD}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
