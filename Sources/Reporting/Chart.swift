import Support

/// Curves over epochs, or over something else, as SVG.
struct Chart {
    /// A curve. A point whose value is no number is a gap.
    struct Series {
        let label: String
        /// Which of the palette's colours.
        let colour: Int
        let line: Line
        let points: [(x: Double, y: Double)]

        /// How it is drawn; the names are those of the style sheet's classes.
        enum Line: String {
            case solid, dashed, dotted
        }

        /// Points of a curve at most; a longer one is thinned.
        static let limit = 400

        init(_ label: String, colour: Int, line: Line = .solid, _ points: [(x: Double, y: Double)]) {
            let every = (points.count - 1) / Self.limit + 1
            self.label = label
            self.colour = colour % Palette.seriesCount
            self.line = line
            self.points = points.enumerated().filter { $0.offset % every == 0 || $0.offset == points.count - 1 }
                .map(\.element)
        }
    }

    let title: String
    /// What the vertical axis shows, and its unit.
    let unit: String
    let scale: Axis.Scale
    let series: [Series]
    /// The horizontal axis.
    var across = (title: "epoch", scale: Axis.Scale.whole)

    static let width = 460.0
    static let height = 290.0
    private static let (left, right, top, bottom) = (74.0, 14.0, 34.0, 46.0)
    /// A curve of fewer points has each marked, with its value.
    private static let markedPoints = 60

    /// The chart as an image of its own within a page.
    var svg: Markup {
        .tag(
            "svg",
            [
                ("viewBox", "0 0 \(number(Self.width)) \(number(Self.height))"), ("class", "chart"), ("role", "img"),
                ("aria-label", description),
            ], [.tag("title", [], [Markup(description)]), content])
    }

    private var description: String { "\(title): \(unit) over \(across.title)s" }

    /// What is drawn, on an area of `width` × `height`.
    var content: Markup {
        let x = Axis(across.scale, of: series.flatMap { $0.points.map(\.x) }, ticks: 6)
        let y = Axis(scale, of: series.flatMap { $0.points.map(\.y) })
        return Markup([frame(x, y)] + series.reversed().map { curve($0, x, y) })
    }

    private func frame(_ x: Axis, _ y: Axis) -> Markup {
        let (right, bottom) = (Self.width - Self.right, Self.height - Self.bottom)
        var parts = [text(title, Self.left, 18, "chart-title")]
        for tick in y.ticks {
            guard let place = y.position(tick.value).map(vertical) else { continue }
            parts.append(line("grid", Self.left, place, right, place))
            parts.append(text(tick.label, Self.left - 7, place + 4, "tick end"))
        }
        for tick in x.ticks {
            guard let place = x.position(tick.value).map(horizontal) else { continue }
            parts.append(line("axis", place, bottom, place, bottom + 4))
            parts.append(text(tick.label, place, bottom + 18, "tick middle"))
        }
        parts.append(line("axis", Self.left, bottom, right, bottom))
        parts.append(text(across.title, (Self.left + right) / 2, Self.height - 8, "axis-title middle"))
        let middle = (Self.top + bottom) / 2
        parts.append(
            .tag(
                "text",
                [("transform", "translate(16 \(number(middle))) rotate(-90)"), ("class", "axis-title middle")],
                [Markup(unit)]))
        return Markup(parts)
    }

    private func curve(_ series: Series, _ x: Axis, _ y: Axis) -> Markup {
        var runs: [[String]] = [[]]
        var marks: [Markup] = []
        for point in series.points {
            guard let across = x.position(point.x).map(horizontal), let up = y.position(point.y).map(vertical) else {
                runs.append([])
                continue
            }
            runs[runs.count - 1].append("\(number(across)),\(number(up))")
            guard series.points.count <= Self.markedPoints else { continue }
            marks.append(
                .tag(
                    "circle", [("cx", number(across)), ("cy", number(up)), ("r", series.line == .solid ? "3" : "2")],
                    [.tag("title", [], ["\(series.label), \(self.across.title) \(place(point.x)): \(shown(point.y))"])])
            )
        }
        let lines = runs.filter { !$0.isEmpty }.map { points in
            // A point between two gaps has no line; drawn twice its round end shows.
            Markup.tag("polyline", [("points", (points.count == 1 ? points + points : points).joined(separator: " "))])
        }
        return .tag(
            "g", class: "series-\(series.colour)\(series.line == .solid ? "" : " " + series.line.rawValue)",
            [.tag("title", [], [Markup(series.label)])] + lines + marks)
    }

    private func place(_ value: Double) -> String {
        value.formatted(places: across.scale == .fromZero ? 1 : 0)
    }

    private func shown(_ value: Double) -> String {
        if scale == .logarithmic { return "\(value)" }
        return value.formatted(places: abs(value) < 10 ? 4 : 2)
    }

    private func horizontal(_ place: Double) -> Double {
        Self.left + place * (Self.width - Self.left - Self.right)
    }

    private func vertical(_ place: Double) -> Double {
        Self.height - Self.bottom - place * (Self.height - Self.top - Self.bottom)
    }

    private func line(_ style: String, _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double) -> Markup {
        .tag(
            "line",
            [
                ("class", style), ("x1", number(x1)), ("y1", number(y1)), ("x2", number(x2)), ("y2", number(y2)),
            ])
    }

    private func text(_ text: String, _ x: Double, _ y: Double, _ style: String) -> Markup {
        .tag("text", [("x", number(x)), ("y", number(y)), ("class", style)], [Markup(text)])
    }
}

/// A length in a drawing, to a tenth.
func number(_ value: Double) -> String {
    let text = value.formatted(places: 1)
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}
