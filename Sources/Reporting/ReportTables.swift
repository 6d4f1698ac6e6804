import Support
import Training

/// The tables of a report.
extension ReportPage {
    /// What there is to say of one run, from its newest numbers to its machine.
    func runSections(_ run: ReportedRun) throws -> [Markup] {
        var sections = try evaluationSections(run)
        if runs.count == 1 { sections.append(configurations) }
        return sections + [machine(of: run), phases(of: run), numbers(of: run)]
    }

    /// The most important numbers of one run.
    func summary(of run: ReportedRun) -> Markup {
        let last = run.epochs.last
        var tiles: [(String, String, String)] = []
        if let last {
            tiles.append(("test accuracy", percent(last.testAccuracy), "after epoch \(last.epoch)"))
            for (name, result) in last.furtherResults {
                tiles.append(("test accuracy, \(name)", percent(result.accuracy), "after epoch \(last.epoch)"))
            }
            if let best = run.best {
                tiles.append(("best", percent(best.deciding.accuracy), "in \(run.place(ofBest: best))"))
            }
            if let recall = last.measures.macroRecall {
                tiles.append(("macro recall", percent(recall), "balanced accuracy"))
            }
            if let auroc = last.measures.auroc { tiles.append(("AUROC", plain(auroc, 4), "mean of all classes")) }
            tiles.append(("test loss", plain(last.testLoss, 4), "cross-entropy"))
            tiles.append(("speed", plain(last.imagesPerSecond, 0), "images/s in epoch \(last.epoch)"))
            tiles.append(("time", duration(run.seconds), "training and evaluation"))
        }
        return Markup([
            .tag("p", class: "lead", [Markup(run.sentence)]),
            .tag(
                "ul", class: "tiles",
                tiles.map { name, value, note in
                    .tag(
                        "li", [],
                        [
                            .tag("span", class: "name", [Markup(name)]), .tag("b", [], [Markup(value)]),
                            .tag("span", class: "name", [Markup(note)]),
                        ])
                }),
        ])
    }

    /// The most important numbers of several runs.
    var overview: Markup {
        let rows = runs.enumerated().map { index, run in
            let last = run.epochs.last
            return [
                Markup([.tag("span", class: "swatch series-\(index)", [" "]), Markup(label(of: run))]),
                Markup(percent(last?.testAccuracy)),
                Markup(run.best.map { "\(percent($0.deciding.accuracy)) (\(run.place(ofBest: $0)))" } ?? "–"),
                Markup(plain(last?.testLoss, 4)), Markup("\(last?.epoch ?? 0) of \(run.configuration.epochs)"),
                Markup(plain(last?.imagesPerSecond, 0)), Markup(duration(run.seconds)),
                Markup(run.configuration.model),
            ]
        }
        let titles = ["run", "test accuracy", "best", "test loss", "epochs", "images/s", "time", "model"]
        return table(titles, rows, words: 1, style: "overview")
    }

    /// The options of all runs, side by side; of several runs those that differ first.
    var configurations: Markup {
        let columns = runs.map { NamedValue.all(of: $0.configuration, except: ["files", "version"]) }
        let options = columns[0].map { option in
            (name: words(option.name), values: columns.map { $0.first { $0.name == option.name }?.shown ?? "" })
        }
        func rows(_ options: [(name: String, values: [String])]) -> [[Markup]] {
            options.map { [Markup($0.name)] + $0.values.map { Markup($0) } }
        }
        guard runs.count > 1 else {
            return section("Configuration", [table(["option", "value"], rows(options), words: 2, style: "facts")])
        }
        let titles = ["option"] + runs.map(label)
        let differing = options.filter { Set($0.values).count > 1 }
        let same = options.filter { Set($0.values).count == 1 }
        return section(
            "Configuration",
            [
                differing.isEmpty
                    ? .tag("p", [], ["All options are the same."])
                    : table(titles, rows(differing), words: titles.count, style: "facts differing"),
                .tag(
                    "details", [],
                    [
                        .tag("summary", [], ["Options that are the same"]),
                        table(["option", "value"], rows(same).map { Array($0.prefix(2)) }, words: 2, style: "facts"),
                    ]),
            ])
    }

    private func machine(of run: ReportedRun) -> Markup {
        guard let record = run.record, let start = record.starts.last else {
            return section("Machine", [.tag("p", class: "note", [Markup(ReportedRun.noRecord)])])
        }
        let machine = start.machine
        var rows = [
            ("ranks", "\(machine.ranks)"), ("threads of each", "\(machine.threads)"),
            (machine.hosts.count == 1 ? "host" : "hosts", machine.hosts.joined(separator: ", ")),
            ("CPU", machine.processor), ("vector level", machine.vectorLevel),
            ("bound to cores", machine.isBound ? "yes" : "no"), ("program", start.program), ("began", start.began),
            ("command", shellLine(["densenet"] + start.command)),
        ]
        if record.starts.count > 1 {
            rows.append(("starts", record.starts.map(\.began).joined(separator: ", ") + "; the above is the last"))
        }
        return section(
            "Machine", [table(["", ""], rows.map { [Markup($0.0), Markup($0.1)] }, words: 2, style: "facts")])
    }

    private func phases(of run: ReportedRun) -> Markup {
        let phases = run.phases
        let all = phases.reduce(0) { $0 + $1.seconds }
        guard all > 0 else { return section("Time", [.tag("p", class: "note", ["No epoch is finished yet."])]) }
        let bar = phases.enumerated().map { index, phase in
            Markup.tag(
                "div",
                [
                    ("class", "series-\(index)"),
                    ("style", "width: \((100 * phase.seconds / all).formatted(places: 2))%"),
                    ("title", phase.name),
                ], [" "])
        }
        let rows = phases.enumerated().map { index, phase in
            [
                Markup([.tag("span", class: "swatch series-\(index)", [" "]), Markup(phase.name)]),
                Markup(duration(phase.seconds)), Markup(percent(phase.seconds / all)),
            ]
        }
        return section(
            "Time", [.tag("div", class: "phases", bar), table(["phase", "h:mm:ss", "share"], rows, words: 1)])
    }

    /// The numbers behind the curves.
    private func numbers(of run: ReportedRun) -> Markup {
        // All runs of a page together have as many rows as one would.
        let every = (run.epochs.count - 1) / (Chart.Series.limit / runs.count) + 1
        let shown = run.epochs.enumerated().filter { $0.offset % every == 0 || $0.offset == run.epochs.count - 1 }
        let hasAverage = run.epochs.contains { $0.average != nil }
        let rows = shown.map(\.element).map { epoch in
            let averages = [plain(epoch.average?.loss, 4), percent(epoch.average?.accuracy)]
            return
                ([
                    "\(epoch.epoch)", plain(epoch.trainLoss, 4), percent(epoch.trainAccuracy), plain(epoch.testLoss, 4),
                    percent(epoch.testAccuracy),
                ] + (hasAverage ? averages : []) + [
                    "\(Float(epoch.learningRate))", plain(epoch.imagesPerSecond, 1), plain(epoch.epochSeconds, 1),
                    plain(epoch.evaluationSeconds, 1),
                ]).map { Markup($0) }
        }
        guard !rows.isEmpty else { return Markup([]) }
        return .tag(
            "details", [],
            [
                .tag("summary", [], ["The numbers, epoch by epoch"]),
                table(
                    ["epoch", "training loss", "training accuracy", "test loss", "test accuracy"]
                        + (hasAverage ? ["average's loss", "average's accuracy"] : [])
                        + ["rate", "images/s", "training, s", "evaluation, s"], rows),
            ])
    }
}

/// A table that scrolls where it is too wide.
///
/// - Parameters:
///   - words: the first columns, which hold words, not numbers.
///   - style: a class of the table.
func table(_ titles: [String], _ rows: [[Markup]], words: Int = 0, style: String = "figures") -> Markup {
    func row(_ element: String, _ cells: [Markup]) -> Markup {
        .tag(
            "tr", [],
            cells.enumerated().map { column, cell in
                column < words ? .tag(element, [], [cell]) : .tag(element, class: "number", [cell])
            })
    }
    let head =
        titles.contains { !$0.isEmpty } ? [Markup.tag("thead", [], [row("th", titles.map { Markup($0) })])] : []
    return .tag(
        "div", class: "wide", [.tag("table", class: style, head + [.tag("tbody", [], rows.map { row("td", $0) })])])
}

extension ReportedRun {
    static let noRecord = "This run folder has no record.json, as older programs wrote none."

    /// What the run is, and how far.
    var sentence: String {
        let done = epochs.last?.epoch ?? 0
        let all = "\(configuration.epochs) epoch\(configuration.epochs == 1 ? "" : "s")"
        let place = isFinished ? "finished after \(done) of \(all)" : "not finished: \(done) of \(all) done"
        let images =
            record.map { " (\($0.data.train.grouped) training and \($0.data.test.grouped) test images)" } ?? ""
        let parameters = record.map { ", \($0.parameters.grouped) parameters" } ?? ""
        return "\(configuration.model)\(parameters), on \(configuration.data.name)\(images); "
            + "\(place)."
    }

    /// Where the time of all epochs has gone.
    var phases: [(name: String, seconds: Double)] {
        func sum(_ value: (EpochMetrics) -> Double) -> Double {
            epochs.map(value).filter(\.isFinite).reduce(0) { $0 + max($1, 0) }
        }
        // The wait is of the rank that waited longest.
        return [
            ("training steps", sum { $0.epochSeconds - $0.dataWaitSeconds }),
            ("waiting for data", sum { min($0.dataWaitSeconds, $0.epochSeconds) }),
            ("waiting for checkpoints", sum(\.checkpointWaitSeconds)), ("evaluation", sum(\.evaluationSeconds)),
        ]
    }

    /// Of all phases together.
    var seconds: Double { phases.reduce(0) { $0 + $1.seconds } }
}
