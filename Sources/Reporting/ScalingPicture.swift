/// Images/s and efficiency over numbers of ranks.
package enum ScalingPicture {
    package typealias Row = (ranks: Int, imagesPerSecond: Double, efficiency: Double)

    /// A drawing of its own, light.
    ///
    /// - Parameters:
    ///   - rows: efficiencies from 0 to 1.
    ///   - payingEfficiency: drawn as a level.
    package static func svg(title: String, _ rows: [Row], payingEfficiency: Double) -> String {
        func points(_ value: (Row) -> Double) -> [(Double, Double)] {
            rows.map { (Double($0.ranks), value($0)) }
        }
        let single = rows.first.map { $0.imagesPerSecond / $0.efficiency / Double($0.ranks) } ?? 1
        let charts = [
            Chart(
                title: title, unit: "images/s", scale: .logarithmic,
                series: [
                    Chart.Series("predicted", colour: 0, points { $0.imagesPerSecond }),
                    Chart.Series("without any loss", colour: 0, line: .dashed, points { single * Double($0.ranks) }),
                ], across: ("rank", .logarithmic)),
            Chart(
                title: "Efficiency", unit: "share of ranks alone", scale: .fromZero,
                series: [
                    Chart.Series("predicted", colour: 1, points { $0.efficiency }),
                    Chart.Series("pays", colour: 1, line: .dashed, points { _ in payingEfficiency }),
                ], across: ("rank", .logarithmic)),
        ]
        let (width, height) = (2 * Chart.width + 40, Chart.height + 20)
        let sheet = String(decoding: PackageResources.chart_css, as: UTF8.self)
        let style = Markup.tag("style", [], [Markup(trusted: Palette.resolved(sheet))])
        let ground = Markup.tag("rect", [("width", "100%"), ("height", "100%"), ("fill", "#ffffff")])
        let drawn = charts.enumerated().map { place, chart in
            let x = 10 + Double(place) * (Chart.width + 20)
            return Markup.tag("g", [("transform", "translate(\(number(x)) 10)")], [chart.content])
        }
        let size = [("width", number(width)), ("height", number(height))]
        return Markup.tag(
            "svg",
            [("xmlns", "http://www.w3.org/2000/svg"), ("viewBox", "0 0 \(number(width)) \(number(height))")] + size,
            [style, ground] + drawn
        ).description + "\n"
    }
}
