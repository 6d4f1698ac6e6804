import FoundationEssentials
import Pictures
import Support
import Training

/// What a report shows of the newest evaluation.
extension ReportPage {
    /// A matrix of up to so many classes is shown with its numbers, a larger one as a picture.
    private static let numberedClasses = 20
    private static let pairLimit = 15
    /// Of more classes than are numbered, so many are listed.
    private static let classLimit = 100

    func evaluationSections(_ run: ReportedRun) throws -> [Markup] {
        guard let record = run.record else {
            return [section("Confusion and mistakes", [.tag("p", class: "note", [Markup(ReportedRun.noRecord)])])]
        }
        guard let evaluation = record.evaluation else {
            return [section("Confusion and mistakes", [.tag("p", class: "note", ["No epoch is evaluated yet."])])]
        }
        return [
            try confusion(evaluation, run), classes(evaluation, run), try mistakes(evaluation, run),
        ]
    }

    // MARK: - Confusion

    private func confusion(_ evaluation: RunRecord.Evaluated, _ run: ReportedRun) throws -> Markup {
        let count = evaluation.total.count
        let matrix =
            count <= Self.numberedClasses
            ? matrixOfNumbers(evaluation, run)
            : image(
                try evaluation.evaluation().confusionPicture(edge: 480).png,
                alt: "Confusion matrix of \(count) classes, the darker the more images", style: "matrix")
        let pairs = evaluation.confusion.filter { $0[0] != $0[1] && $0[2] > 0 }
            .sorted { (-$0[2], $0[0], $0[1]) < (-$1[2], $1[0], $1[1]) }.prefix(Self.pairLimit)
        let rows = pairs.map { cell in
            [
                Markup(run.className(cell[0])), Markup(run.className(cell[1])), Markup(cell[2].grouped),
                Markup(percent(Double(cell[2]) / Double(max(evaluation.total[cell[0]], 1)))),
            ]
        }
        return section(
            "Confusion matrix",
            [
                .tag(
                    "p", class: "note",
                    [
                        "Test images after epoch \(evaluation.epoch): a row for each class, a column for what it is taken for. The stronger a cell's colour, the larger its share of the class."
                    ]),
                .tag(
                    "div", class: "columns",
                    [
                        .tag("div", class: "wide", [matrix]),
                        .tag(
                            "div", [],
                            [
                                .tag("h3", [], ["Most often confused"]),
                                rows.isEmpty
                                    ? .tag("p", [], ["Nothing was confused."])
                                    : table(["class", "taken for", "images", "of the class"], rows, words: 2),
                            ]),
                    ]),
            ])
    }

    private func matrixOfNumbers(_ evaluation: RunRecord.Evaluated, _ run: ReportedRun) -> Markup {
        let (count, cell, margin) = (evaluation.total.count, 32.0, 90.0)
        let edge = margin + Double(count) * cell
        let (first, side) = (number(margin), number(edge - margin))
        var parts = [
            Markup.tag("title", [], ["Confusion matrix: rows are classes, columns what they are taken for"]),
            .tag("rect", [("class", "matrix-ground"), ("x", first), ("y", first), ("width", side), ("height", side)]),
        ]
        for label in 0..<count {
            let (place, name) = (margin + (Double(label) + 0.5) * cell, shortened(run.className(label)))
            parts.append(
                .tag(
                    "text", [("x", number(margin - 6)), ("y", number(place + 4)), ("class", "tick end")], [Markup(name)]
                ))
            parts.append(
                .tag(
                    "text",
                    [
                        ("transform", "translate(\(number(place + 4)) \(number(margin - 6))) rotate(-60)"),
                        ("class", "tick"),
                    ], [Markup(name)]))
        }
        for entry in evaluation.confusion where entry[2] > 0 {
            let (x, y) = (margin + Double(entry[1]) * cell, margin + Double(entry[0]) * cell)
            // The root, so that a few images of a thousand are seen.
            let strength = (Double(entry[2]) / Double(max(evaluation.total[entry[0]], entry[2]))).squareRoot()
            parts.append(
                .tag(
                    "rect",
                    [
                        ("class", "cell"), ("x", number(x + 1)), ("y", number(y + 1)), ("width", number(cell - 2)),
                        ("height", number(cell - 2)), ("fill-opacity", strength.formatted(places: 3)),
                    ],
                    [
                        .tag(
                            "title", [],
                            ["\(run.className(entry[0])) taken for \(run.className(entry[1])): \(entry[2]) images"])
                    ]))
            parts.append(
                .tag(
                    "text",
                    [
                        ("x", number(x + cell / 2)), ("y", number(y + cell / 2 + 4)),
                        ("class", strength > 0.65 ? "count on middle" : "count middle"),
                    ], [Markup("\(entry[2])")]))
        }
        return .tag(
            "svg",
            [
                ("viewBox", "0 0 \(number(edge + 26)) \(number(edge))"), ("class", "confusion"), ("role", "img"),
                ("aria-label", "Confusion matrix"),
                ("style", "min-width: \(number(edge * 0.85))px; max-width: \(number(edge * 1.4))px"),
            ], parts)
    }

    // MARK: - Classes

    private func classes(_ evaluation: RunRecord.Evaluated, _ run: ReportedRun) -> Markup {
        let correct = evaluation.correct
        let (precision, auroc) = (evaluation.evaluation().precision, evaluation.auroc)
        var shares = evaluation.total.indices.filter { evaluation.total[$0] > 0 }.map {
            (label: $0, share: Double(correct[$0]) / Double(evaluation.total[$0]))
        }
        let isLong = shares.count > Self.numberedClasses
        if isLong {
            shares.sort { ($0.share, $0.label) < ($1.share, $1.label) }
            shares.removeSubrange(min(Self.classLimit, shares.count)...)
        }
        let rows = shares.map { label, share in
            [
                Markup(run.className(label)),
                .tag(
                    "div", class: "bar",
                    [
                        .tag(
                            "div",
                            [
                                ("class", "series-0"),
                                ("style", "width: \((100 * min(share, 1)).formatted(places: 1))%"),
                            ],
                            [" "])
                    ]), Markup(percent(share)), Markup(percent(precision[label])),
            ] + (auroc.map { [Markup(plain($0[label], 4))] } ?? []) + [
                Markup("\(correct[label].grouped) of \(evaluation.total[label].grouped)")
            ]
        }
        return section(
            "Accuracy of each class",
            (isLong ? [.tag("p", class: "note", ["The worst \(rows.count) of \(correct.count) classes."])] : [])
                + [
                    .tag(
                        "div", class: isLong ? "long" : "short",
                        [
                            table(
                                ["class", "", "recall", "precision"] + (auroc == nil ? [] : ["AUROC"]) + ["images"],
                                rows, words: 2)
                        ])
                ])
    }

    // MARK: - Mistakes

    private func mistakes(_ evaluation: RunRecord.Evaluated, _ run: ReportedRun) throws -> Markup {
        let title = "Most confident mistakes"
        guard !evaluation.mistakes.isEmpty else {
            return section(title, [.tag("p", [], ["There are none to show."])])
        }
        switch run.mistakes {
        case .failure(let failure):
            return section(title, [.tag("p", class: "note", ["The pictures cannot be shown: \(failure.message)"])])
        case .success(let pictures):
            let figures = try zip(evaluation.mistakes, pictures).map { mistake, picture in
                let (truth, guess) = (run.className(mistake.truth), run.className(mistake.guess))
                return Markup.tag(
                    "figure", [],
                    [
                        image(
                            try picture.png, alt: "test image \(mistake.index), \(truth), taken for \(guess)",
                            style: "pixels"),
                        .tag(
                            "figcaption", [],
                            [
                                .tag("b", [], [Markup(truth)]), .tag("span", [], ["taken for \(guess)"]),
                                .tag("span", class: "name", ["\(percent(mistake.probability)) sure"]),
                            ]),
                    ])
            }
            return section(
                title,
                [
                    .tag(
                        "p", class: "note",
                        [
                            "Test images that the network takes for another class after epoch \(evaluation.epoch), the surest first."
                        ]),
                    .tag("div", class: "mistakes", figures),
                ])
        }
    }

    private func image(_ png: [UInt8], alt: String, style: String) -> Markup {
        .tag(
            "img",
            [("src", "data:image/png;base64," + Data(png).base64EncodedString()), ("alt", alt), ("class", style)])
    }
}

/// A name cut to what fits beside a matrix.
private func shortened(_ name: String) -> String { name.count <= 12 ? name : name.prefix(11) + "…" }
