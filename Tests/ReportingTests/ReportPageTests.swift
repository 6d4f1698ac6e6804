import DenseNetModel
import FoundationEssentials
import Support
import TestSupport
import Testing

@testable import Reporting
@testable import Training

@Suite struct ReportPageTests {
    let scratch = ScratchFolder()

    /// A run folder of what is given, with a configuration on synthetic images.
    private func folder(
        _ name: String = "run", epochs: [EpochMetrics], record: RunRecord? = nil, tail: String = "",
        changes: (inout RunConfiguration) -> Void = { _ in }
    ) throws -> String {
        let path = scratch(name)
        var configuration = RunConfiguration(
            network: DenseNetConfiguration(
                stem: .cifar, blocks: [1, 1], growthRate: 4, stemChannels: 4, bottleneck: true, compression: 0.5,
                classes: 10, image: 8), epochs: 9)
        changes(&configuration)
        try RunFolder(path: path, resuming: false).writeConfiguration(configuration)
        for epoch in epochs { try MetricsLog(path: path + "/metrics.jsonl").append(epoch) }
        if !tail.isEmpty {
            let log = Array(try text(path + "/metrics.jsonl").utf8) + Array(tail.utf8)
            _ = try scratch.write(log, to: name + "/metrics.jsonl")
        }
        try record?.write(to: path)
        return path
    }

    private func record(classes: [String], _ evaluation: RunRecord.Evaluated?) -> RunRecord {
        let machine = #"{"ranks":2,"threads":1,"hosts":["a<b"],"processor":"CPU","vectorLevel":"v3","isBound":true}"#
        let start = RunRecord.Start(
            program: "densenet 0", command: ["train", "it's"], began: "2026-01-31T23:59:59Z",
            machine: try! JSONDecoder().decode(RunMachine.self, from: Data(machine.utf8)))
        return RunRecord(
            model: "custom", parameters: 1622, starts: [start],
            data: .init(name: "images", train: 64, test: 32, classes: classes), evaluation: evaluation)
    }

    private func page(_ paths: String...) throws -> Page {
        let html = try ReportPage(runs: try paths.map { try ReportedRun(path: $0) }).html()
        let lines = html.split(separator: "\n", maxSplits: 1)
        #expect(lines[0] == "<!DOCTYPE html>")
        return try Page(String(lines[1]))
    }

    @Test func `a page loads nothing and runs nothing`() throws {
        try densenet(["train", "--out", scratch("run")] + tinyRun)
        let page = try page(scratch("run"))
        for word in ["http:", "https:", "//", "@import", "url(", "<script", "<link", "<iframe", "javascript:"] {
            // Texts have none of it, as the run's own paths have single slashes.
            let withoutPictures = page.source.replacing(/base64,[A-Za-z0-9+\/=]+/, with: "")
            #expect(!withoutPictures.contains(word), "\(word)")
        }
        #expect(page.elements.allSatisfy { $0.attributes.keys.allSatisfy { !$0.hasPrefix("on") && $0 != "href" } })
        let pictures = page.elements("img")
        #expect(!pictures.isEmpty && pictures.allSatisfy { $0.attributes["src"]!.hasPrefix("data:image/png;base64,") })
        #expect(page.elements("svg", class: "chart").count == 4)
        #expect(
            page.elements("svg").allSatisfy { $0.attributes["role"] == "img" && $0.attributes["aria-label"] != nil })
    }

    @Test func `names that look like markup are shown as they are`() throws {
        let names = ["</td><script>alert(1)</script>", "\"quoted\" & 'so'", "bell\u{7}\u{FFFF}", "ж"]
        let evaluation = RunRecord.Evaluated(
            epoch: 1,
            Evaluation(
                loss: 1, matrix: [1, 1, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 1, 0, 0, 1], total: [2, 2, 2, 2], mistakes: [])
        )
        let path = try folder("a&b <i>", epochs: [metrics(1)], record: record(classes: names, evaluation)) {
            $0.data.path = "/images/<b>"
        }
        let page = try page(path)
        #expect(page.elements("script").isEmpty && page.elements("b").allSatisfy { !$0.text.isEmpty })
        #expect(page.texts("h1") == ["a&b <i>"])
        let cells = page.texts("td")
        #expect(cells.contains(names[0]) && cells.contains(names[1]) && cells.contains("bell\u{FFFD}\u{FFFD}"))
        #expect(cells.contains("a<b") && cells.contains("densenet train 'it'\\''s'") && cells.contains("/images/<b>"))
    }

    @Test func `a run folder of an older program has what it can have`() throws {
        let page = try page(folder(epochs: [metrics(1), metrics(2)]))
        #expect(page.elements("svg", class: "chart").count == 4 && page.elements("svg", class: "confusion").isEmpty)
        #expect(page.texts("p").filter { $0 == ReportedRun.noRecord }.count == 2)
        // Two epochs of 8 s, 2 of which were waits, 1 for checkpoints, 3 of evaluation.
        let cells = page.texts("td")
        #expect(cells.contains("0:00:12") && cells.contains("50.00 %") && cells.contains("0:00:04"))
    }

    @Test func `a run in progress is reported without its cut line`() throws {
        let path = try folder(epochs: [metrics(1), metrics(2)], tail: #"{"epoch":3,"train_lo"#)
        let page = try page(path)
        #expect(page.texts("p").contains { $0.contains("not finished: 2 of 9 epochs done") })
        #expect(try self.page(folder("new", epochs: [])).texts("p").contains("No epoch is finished yet."))
        let job = try densenet(["report", scratch("none")], status: Failure.Kind.noInput.rawValue)
        #expect(job.errors.contains("\(scratch("none")) holds no run to report on"))
    }

    @Test func `a loss that is no number is a gap`() throws {
        let losses = [2, 1.5, .nan, .nan, 1, .nan, 0.5]
        let epochs = losses.enumerated().map {
            metrics($0.offset + 1, loss: $0.element, rate: $0.offset == 6 ? 0 : 0.1)
        }
        let page = try page(folder(epochs: epochs))
        // Test and training, each in three pieces; accuracy and speed whole; the rate without the 0, which has no log.
        #expect(page.elements("polyline").count == 2 * 3 + 2 + 1 + 1)
        #expect(!page.source.contains("nan") && !page.source.contains("inf\""))
        #expect(page.texts("td").contains("–"))
    }

    @Test func `several runs share the curves and differ in colour`() throws {
        let first = try folder("one/run", epochs: [metrics(1), metrics(2)])
        let second = try folder("two/run", epochs: [metrics(1)]) { $0.seed = 7 }
        let third = try folder("third", epochs: [metrics(1), metrics(2), metrics(3)])
        let page = try page(first, second, third)
        // The name that two runs have does not tell them apart.
        #expect(page.texts("li") == [" " + first, " " + second, " third"])
        #expect(page.elements("svg", class: "chart").count == 4)
        for colour in 0..<3 { #expect(page.elements("g", class: "series-\(colour)").count == 6) }
        let differing = try #require(page.elements("table", class: "differing").first)
        #expect(differing.text == "option\(first)\(second)thirdseed171")
        let nine = (0..<9).map { _ in first }
        let job = try densenet(["report"] + nine, status: Failure.Kind.usage.rawValue)
        #expect(job.errors.contains("9 runs: one report has up to 8"), "\(job.errors)")
    }

    @Test func `over minutes an epoch stands where its training ended`() throws {
        let quick = try folder("quick", epochs: (1...4).map { metrics($0, seconds: 30) })
        let slow = try folder("slow", epochs: (1...2).map { metrics($0, seconds: 90) })
        try densenet(["report", quick, slow, "--over", "minutes", "--out", scratch("page.html")])
        let source = try text(scratch("page.html"))
        let page = try Page(String(source.split(separator: "\n", maxSplits: 1)[1]))
        #expect(
            page.elements("svg", class: "chart").allSatisfy {
                $0.attributes["aria-label"]!.contains("training minutes")
            })
        let marks = page.texts("title").filter { $0.contains(", test, training minute ") && $0.hasSuffix(": 50.00") }
        let places = marks.map { $0.split(separator: " ").dropLast().last.map(String.init) ?? "" }
        #expect(Set(places) == ["0.5:", "1.0:", "1.5:", "2.0:", "3.0:"], "\(marks)")
    }

    @Test func `long runs of many classes stay below a megabyte`() throws {
        let classes = 1000
        var confusion = [Int](repeating: 0, count: classes * classes)
        for index in 0..<50_000 { confusion[index / 50 * classes + (index * index + index / 50) % classes] += 1 }
        let evaluation = Evaluation(
            loss: 1, matrix: confusion, total: [Int](repeating: 50, count: classes), mistakes: [])
        let names = (0..<classes).map { "a class of a long name, number \($0)" }
        let record = record(classes: names, .init(epoch: 900, evaluation))
        let path = try folder(epochs: (1...900).map { metrics($0, loss: 1 / Double($0)) }, record: record) {
            $0.network.classes = classes
            $0.epochs = 900
        }
        #expect(try RunRecord.read(from: path) == record)
        #expect(try Data(contentsOf: URL(filePath: path + "/record.json")).count < 1 << 20)
        let page = try page(path, path, path, path)
        let pictures = page.elements("img").map { $0.attributes["src"]!.utf8.count }.reduce(0, +)
        #expect(pictures > 0 && page.source.utf8.count - pictures < 1_000_000, "\(page.source.utf8.count) bytes")
        let points = page.elements("polyline").map { $0.attributes["points"]!.split(separator: " ").count }
        #expect(points.allSatisfy { $0 <= Chart.Series.limit + 1 })
    }

    @Test func `a record that is no record is named`() throws {
        let path = try folder(epochs: [metrics(1)])
        let texts = [
            "", "[]", #"{"version":2}"#,
            #"{"version":1,"model":"m","parameters":1,"starts":[],"data":{"name":"n","train":1,"test":1,"classes":[]},"evaluation":{"epoch":1,"accuracy":1,"total":[1],"confusion":[[0,7,1]],"mistakes":[]}}"#,
        ]
        for text in texts {
            _ = try scratch.write(Array(text.utf8), to: "run/record.json")
            let job = try densenet(["report", path], status: Failure.Kind.data.rawValue)
            #expect(job.errors.contains("\(path)/record.json: "), "\(job.errors)")
        }
    }
}

@Suite struct AxisTests {
    @Test func `ticks stand at round numbers around the values`() {
        #expect(Axis(.linear, of: [0.31, 0.74]).ticks.map(\.label) == ["0.3", "0.4", "0.5", "0.6", "0.7", "0.8"])
        #expect(Axis(.fromZero, of: [1.9, 2.3]).ticks.map(\.label) == ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"])
        #expect(Axis(.whole, of: [1, 2, 3]).ticks.map(\.label) == ["1", "2", "3"])
        #expect(Axis(.whole, of: [1, 300]).ticks.map(\.label) == ["100", "200", "300"])
        #expect(Axis(.logarithmic, of: [0.1, 0.001]).ticks.map(\.label) == ["0.001", "0.01", "0.1"])
        #expect(Axis(.logarithmic, of: [0.05]).ticks.map(\.label) == ["0.01", "0.1"])
    }

    @Test(arguments: [Axis.Scale.whole, .linear, .fromZero, .logarithmic])
    func `any values have an axis`(scale: Axis.Scale) {
        for values in [[], [.nan], [.infinity, 1], [0, 0], [-3], [1e308, -1e308], [2.3e-308], [1e-12, 1e12], [7]] {
            let axis = Axis(scale, of: values)
            #expect(axis.ticks.count <= 14 && axis.ticks.allSatisfy { $0.value.isFinite }, "\(values)")
            for value in values where abs(value) < 1e300 {
                guard let place = axis.position(value) else { continue }
                #expect((-0.001...1.001).contains(place), "\(value) of \(values) at \(place)")
            }
        }
    }
}
