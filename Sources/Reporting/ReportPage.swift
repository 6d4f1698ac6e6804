import Support
import Training

/// A report on runs: one HTML file that needs nothing else, without a script, for light and dark and for phones.
package struct ReportPage {
    let runs: [ReportedRun]
    let horizontal: Horizontal

    /// What the curves are drawn over.
    package enum Horizontal: String, CaseIterable, Sendable {
        case epochs
        /// Of training, without the evaluations.
        case minutes
    }

    /// More curves could not be told apart.
    package static var runLimit: Int { Palette.seriesCount }

    /// - Throws: `Failure(.usage)` for more than `runLimit` runs.
    package init(runs: [ReportedRun], over horizontal: Horizontal = .epochs) throws {
        guard runs.count <= Self.runLimit else {
            throw Failure(
                .usage, "\(runs.count) runs: one report has up to \(Self.runLimit), whose curves can be told apart")
        }
        self.runs = runs
        self.horizontal = horizontal
    }

    /// Writes the page, atomically.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses, what making PNGs throws.
    package func write(to path: String) throws { try AtomicFile.write(Array(html().utf8), to: path) }

    /// The page.
    package func html() throws -> String {
        let title = runs.count == 1 ? runs[0].name : "\(runs.count) runs"
        let style = Palette.properties + embedded(PackageResources.chart_css) + embedded(PackageResources.page_css)
        let head = Markup.tag(
            "head", [],
            [
                .tag("meta", [("charset", "utf-8")]),
                .tag("meta", [("name", "viewport"), ("content", "width=device-width, initial-scale=1")]),
                .tag("meta", [("name", "color-scheme"), ("content", "light dark")]),
                .tag("title", [], [Markup(title)]), .tag("style", [], [Markup(trusted: style)]),
            ])
        let sections =
            runs.count == 1
            ? [summary(of: runs[0]), curves] + (try runSections(runs[0]))
            : [overview, curves, configurations]
                + (try runs.map { run in
                    let sections = try runSections(run)
                    return .tag("h2", class: "run", [Markup(label(of: run))]).followed(by: sections)
                })
        let body = Markup.tag("main", [], [.tag("h1", [], [Markup(title)])] + sections)
        return "<!DOCTYPE html>\n"
            + Markup.tag("html", [("lang", "en")], [head, .tag("body", [], [body])]).description + "\n"
    }

    /// The same curves, as a drawing of its own, light.
    package func curvesSVG() -> String {
        let width = 2 * Chart.width + 40
        let legendRows = runs.count + 1
        let top = 20 + Double(legendRows) * 20
        var parts = [
            Markup.tag(
                "style", [],
                [Markup(trusted: Palette.resolved(embedded(PackageResources.chart_css)))]),
            .tag("rect", [("width", "100%"), ("height", "100%"), ("fill", "#ffffff")]),
        ]
        for (row, run) in runs.enumerated() {
            let line = 24 + Double(row) * 20
            parts.append(
                .tag(
                    "g", class: "series-\(row)",
                    [.tag("polyline", [("points", "20,\(number(line - 4)) 50,\(number(line - 4))")])]))
            parts.append(
                .tag("text", [("x", "58"), ("y", number(line)), ("class", "axis-title")], [Markup(label(of: run))]))
        }
        parts.append(
            .tag(
                "text", [("x", "20"), ("y", number(24 + Double(runs.count) * 20)), ("class", "axis-title")],
                [Markup(lineStyles)]))
        for (place, chart) in charts.enumerated() {
            let (x, y) = (
                10 + Double(place % 2) * (Chart.width + 20), top + Double(place / 2) * (Chart.height + 20)
            )
            parts.append(.tag("g", [("transform", "translate(\(number(x)) \(number(y)))")], [chart.content]))
        }
        let height = top + 2 * (Chart.height + 20)
        return Markup.tag(
            "svg",
            [
                ("xmlns", "http://www.w3.org/2000/svg"), ("width", number(width)), ("height", number(height)),
                ("viewBox", "0 0 \(number(width)) \(number(height))"),
            ], parts
        ).description
    }

    private func embedded(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    // MARK: - Curves

    private var lineStyles: String {
        let average = runs.contains { $0.epochs.contains { $0.average != nil } }
        return "Solid: test. Dashed: training. \(average ? "Dotted: test, by averaged weights. " : "")"
            + "Learning rate and images/s have one line a run."
    }

    /// The run's name; its path where another run's name is the same.
    func label(of run: ReportedRun) -> String {
        runs.count { $0.name == run.name } > 1 ? run.path : run.name
    }

    private var curves: Markup {
        guard runs.contains(where: { !$0.epochs.isEmpty }) else {
            return section("Curves", [.tag("p", [], ["No epoch is finished yet."])])
        }
        let entries = runs.enumerated().map { index, run in
            Markup.tag(
                "li", [], [.tag("span", class: "swatch series-\(index)", [" "]), Markup(label(of: run))])
        }
        return section(
            "Curves",
            [
                .tag("ul", class: "legend", entries), .tag("p", class: "note", [Markup(lineStyles)]),
                .tag("div", class: "charts", charts.map(\.svg)),
            ])
    }

    private var charts: [Chart] {
        func series(
            _ suffix: String, _ line: Chart.Series.Line = .solid, _ value: (EpochMetrics) -> Double?
        ) -> [Chart.Series] {
            runs.enumerated().compactMap { index, run in
                let points = zip(places(of: run.epochs), run.epochs).compactMap { x, epoch in
                    value(epoch).map { (x, $0) }
                }
                guard !points.isEmpty || run.epochs.isEmpty else { return nil }
                return Chart.Series(label(of: run) + suffix, colour: index, line: line, points)
            }
        }
        let charts = [
            Chart(
                title: "Loss", unit: "cross-entropy", scale: .fromZero,
                series: series(", test") { $0.testLoss } + series(", average", .dotted) { $0.average?.loss }
                    + series(", training", .dashed) { $0.trainLoss }),
            Chart(
                title: "Accuracy", unit: "accuracy, %", scale: .linear,
                series: series(", test") { $0.testAccuracy * 100 }
                    + series(", average", .dotted) { $0.average.map { $0.accuracy * 100 } }
                    + series(", training", .dashed) { $0.trainAccuracy * 100 }),
            Chart(
                title: "Learning rate", unit: "learning rate", scale: .logarithmic,
                series: series("") { $0.learningRate }),
            Chart(title: "Speed", unit: "images/s", scale: .fromZero, series: series("") { $0.imagesPerSecond }),
        ]
        guard horizontal == .minutes else { return charts }
        return charts.map { chart in
            var chart = chart
            chart.across = ("training minute", .fromZero)
            return chart
        }
    }

    /// Where the ends of epochs stand on the horizontal axis.
    private func places(of epochs: [EpochMetrics]) -> [Double] {
        guard horizontal == .minutes else { return epochs.map { Double($0.epoch) } }
        var seconds = 0.0
        return epochs.map { epoch in
            seconds += epoch.epochSeconds
            return seconds / 60
        }
    }
}

/// A part of a page with a heading.
func section(_ title: String, _ content: [Markup]) -> Markup {
    .tag("section", [], [.tag("h2", [], [Markup(title)])] + content)
}

extension Markup {
    func followed(by others: [Markup]) -> Markup { Markup([self] + others) }
}
