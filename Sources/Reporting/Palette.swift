/// The colours of reports, on a light and on a dark ground; style sheets name them as `var(--NAME)`.
enum Palette {
    /// Each two series differ for people who confuse red and green as well (after Okabe and Ito).
    private static let series = [
        (light: "#0072b2", dark: "#56b4e9"), (light: "#d55e00", dark: "#ff8f4d"), (light: "#008f68", dark: "#2fcfa0"),
        (light: "#b0508a", dark: "#e79ac6"), (light: "#a87400", dark: "#f0b840"), (light: "#3f4750", dark: "#c9d1d9"),
        (light: "#2aa0c8", dark: "#a5dcf5"), (light: "#857a00", dark: "#f0e442"),
    ]
    static var seriesCount: Int { series.count }

    private static let grounds = [
        ("paper", light: "#ffffff", dark: "#10151b"), ("panel", light: "#f4f6f8", dark: "#19212a"),
        ("ink", light: "#1b1f24", dark: "#e6edf3"), ("muted", light: "#57606a", dark: "#9fb0c0"),
        ("grid", light: "#d5dbe1", dark: "#33404d"), ("on-series", light: "#ffffff", dark: "#0b1015"),
    ]

    private static let colours =
        grounds + series.enumerated().map { ("series-\($0.offset)", light: $0.element.light, dark: $0.element.dark) }

    /// As custom properties for a page, which follows what its reader prefers.
    static var properties: String {
        func block(_ shade: ((String, light: String, dark: String)) -> String) -> String {
            ":root { " + colours.map { "--\($0.0): \(shade($0));" }.joined(separator: " ") + " }"
        }
        return block(\.light) + "\n@media (prefers-color-scheme: dark) { " + block(\.dark) + " }\n" + seriesRules
    }

    /// A style sheet with light colours in place of their names, for programs that know no custom properties.
    static func resolved(_ sheet: String) -> String {
        colours.reduce(sheet + seriesRules) { $0.replacing("var(--\($1.0))", with: $1.light) }
    }

    private static var seriesRules: String {
        series.indices.map {
            ".series-\($0) { stroke: var(--series-\($0)); fill: var(--series-\($0)); background: var(--series-\($0)); }\n"
        }.joined()
    }
}
