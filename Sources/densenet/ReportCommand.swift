import ArgumentParser
import Reporting
import Support

struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "One HTML page on runs: curves, confusion, mistakes, configuration, time.",
        usage: "densenet report <run> ... [<options>]",
        discussion: """
            The page needs no other file and no network. Runs may be over or still under
            way; several of them share the curves. A training that ends writes
            RUN/report.html by itself.

            A run that is still under way:
              ./launch.sh report runs/first

            Two runs on one page, by the time that they took:
              ./launch.sh report runs/first runs/second \\
                  --over minutes --out both.html

            The curves as a picture too:
              ./launch.sh report runs/first --png curves.png
            """)

    @Argument(
        help: ArgumentHelp("Run folders, \(ReportPage.runLimit) at most.", valueName: "run"), completion: .directory)
    var runs: [String]

    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Options from a file") var file: ConfigOptions

    struct OutputOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "The page (default: report.html in the run folder; of several runs, in this directory).",
                valueName: "file"), completion: .file())
        var out: String?

        @Option(
            help: ArgumentHelp(
                "Write the curves as a PNG too, by rsvg-convert of librsvg2-bin (default: none).", valueName: "file"),
            completion: .file())
        var png: String?

        @Option(
            help: ArgumentHelp(
                "What the curves are drawn over: epochs, or minutes of training.", valueName: "axis"))
        var over = ReportPage.Horizontal.epochs
    }

    func run() throws {
        try onOneProcess {
            let reported = try runs.map { try ReportedRun(path: $0) }
            let page = try ReportPage(runs: reported, over: output.over)
            if let png = output.png {
                try CurvesPicture.write(page.curvesSVG(), to: png)
                Console.say("curves: \(png)")
            }
            let out = output.out ?? (reported.count == 1 ? reported[0].defaultReport : "report.html")
            try page.write(to: out)
            Console.say("report: \(out)")
        }
    }
}

extension ReportPage.Horizontal: ExpressibleByArgument {}
