/// A parameter by its name, with its value as text: what ranks are compared by, and a resumed run with what it was.
package struct NamedValue: Codable, Sendable {
    /// As a message calls it.
    package let name: String
    /// What is compared.
    package let value: String
    /// How a message shows it; may differ where the values do not.
    package let shown: String
    /// What `value` is. A parameter that may be missing is always text, which says `none` then.
    package let kind: Kind

    package enum Kind: String, Codable, Sendable {
        case text, number, truth
    }

    package init(_ name: String, _ value: String, shown: String? = nil, kind: Kind = .text) {
        self.name = name
        self.value = value
        self.shown = shown ?? value
        self.kind = kind
    }

    /// The stored properties of a configuration and, one by one, those of the structs in it, in their order.
    ///
    /// By reflection, so that a new property cannot be forgotten.
    ///
    /// - Parameter names: of properties to leave out.
    package static func all(of configuration: Any, except names: Set<String> = []) -> [NamedValue] {
        Mirror(reflecting: configuration).children.flatMap { property -> [NamedValue] in
            let (name, value) = (property.label ?? "", property.value)
            guard !names.contains(name) else { return [] }
            if Mirror(reflecting: value).displayStyle == .struct, !(value is any CustomStringConvertible) {
                return all(of: value, except: names)
            }
            return [NamedValue("`\(name)`", text(value), kind: kind(of: value))]
        }
    }

    private static func kind(of value: Any) -> Kind {
        // A cast would look into an optional.
        guard Mirror(reflecting: value).displayStyle != .optional else { return .text }
        return value is Bool
            ? .truth : value is any BinaryInteger || value is any BinaryFloatingPoint ? .number : .text
    }

    private static func text(_ value: Any) -> String {
        if let list = value as? [Any] { return list.map(text).joined(separator: ",") }
        if let word = (value as? any RawRepresentable)?.rawValue as? String { return word }
        let mirror = Mirror(reflecting: value)
        guard mirror.displayStyle == .optional else { return "\(value)" }
        return mirror.children.first.map { text($0.value) } ?? "none"
    }
}
