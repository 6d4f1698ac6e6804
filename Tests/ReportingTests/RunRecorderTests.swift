import FoundationEssentials
import Support
import TestSupport
import Testing
import Training

@testable import Reporting

@Suite struct RunRecorderTests {
    let scratch = ScratchFolder()

    @Test func `a training leaves its record, a report and a model card whose commands work`() throws {
        let images = scratch("some images")
        try densenet(["synthesize", images, "--train", "64", "--test", "40"])
        let run = scratch("run")
        let options = Array(tinyRun.prefix(6)) + ["--epochs", "2", "--batch-size", "16", "--seed", "3"]
        try densenet(["train", "--data", images, "--out", run] + options, ranks: 2)
        let record = try #require(try RunRecord.read(from: run))
        #expect(record.starts.count == 1 && record.starts[0].machine.ranks == 2 && record.evaluation?.epoch == 2)
        #expect(record.starts[0].command == ["train", "--data", images, "--out", run] + options)
        #expect(record.data.name == "some images" && record.data.train == 64 && record.data.classes.count == 10)
        let last = try #require(try MetricsLog(path: run + "/metrics.jsonl").epochs().last)
        #expect(record.evaluation?.accuracy == last.testAccuracy && record.evaluation?.loss == last.testLoss)
        #expect(record.evaluation?.total.reduce(0, +) == 40)

        let page = try Page(String(try text(run + "/report.html").dropFirst("<!DOCTYPE html>\n".count)))
        #expect(page.elements("figure").count == record.evaluation?.mistakes.count)
        let card = try text(run + "/README.md")
        #expect(card.contains("64 training and 40 test images") && card.contains("| seed | 3 |"))
        #expect(card.contains("./launch.sh -n 2 train --data '\(images)' --out \(run) --blocks 1,1"))
        // What it says of evaluating gives the accuracy that it names.
        let line = try #require(card.split(separator: "\n").first { $0.contains("launch.sh evaluate") })
        let program = "'\(try builtExecutable(named: "densenet"))'"
        let job = try shell(String(line).replacing("./launch.sh", with: program))
        #expect(job.output.contains("Test accuracy: \(last.testAccuracy.formatted(places: 4))"), "\(job.errors)")
        #expect(card.contains("\(percent(last.testAccuracy)) of the test images after epoch 2"))
    }

    /// Runs a line as a shell does.
    private func shell(_ line: String) throws -> ProgramResult { try run("sh", ["-c", line]) }

    @Test func `a resumed run keeps its first start`() throws {
        let run = scratch("run")
        try densenet(["train", "--out", run] + tinyRun)
        for epochs in 3...4 { try densenet(["train", "--resume", run, "--epochs", "\(epochs)"]) }
        let record = try #require(try RunRecord.read(from: run))
        #expect(record.starts.map { $0.command[1] } == ["--out", "--resume", "--resume"])
        #expect(record.evaluation?.epoch == 4)
        let card = try text(run + "/README.md")
        #expect(card.contains("--resume \(run) --epochs 4") && card.contains("after epoch 4"))
    }

    @Test func `what cannot be written is one warning, and the run goes on`() throws {
        let run = scratch("run")
        for name in ["", "/record.json", "/report.html"] {
            try FileManager.default.createDirectory(atPath: run + name, withIntermediateDirectories: true)
        }
        let job = try densenet(["train", "--out", run] + tinyRun)
        let warnings = job.errors.split(separator: "\n").filter { $0.contains("training continues without") }
        #expect(warnings.count == 1 && warnings[0].contains("\(run)/record.json"), "\(job.errors)")
        #expect(FileManager.default.fileExists(atPath: run + "/weights.safetensors"))
    }

    @Test func `the images of mistakes are shown only while they are the ones that were evaluated`() throws {
        let (images, run) = (scratch("images"), scratch("run"))
        try densenet(["synthesize", images, "--train", "64", "--test", "40"])
        try densenet(["train", "--data", images, "--out", run] + tinyRun.prefix(6) + ["--epochs", "1"])
        func figures() throws -> Int {
            try densenet(["report", run])
            let page = try Page(String(try text(run + "/report.html").dropFirst("<!DOCTYPE html>\n".count)))
            let isMissing = page.texts("p").contains { $0.hasPrefix("The pictures cannot be shown: ") }
            #expect(isMissing == page.elements("figure").isEmpty)
            return page.elements("figure").count
        }
        #expect(try figures() > 0)
        var records = try scratch.read("images/test_batch.bin")
        for start in stride(from: 0, to: records.count, by: 3073) { records[start] = (records[start] + 1) % 10 }
        _ = try scratch.write(records, to: "images/test_batch.bin")
        #expect(try figures() == 0)
        try FileManager.default.removeItem(atPath: images)
        #expect(try figures() == 0)
    }

    @Test func `curves become a PNG where rsvg-convert is installed`() throws {
        let run = scratch("run")
        try densenet(["train", "--out", run] + tinyRun)
        // A directory without programs stands for a system without it.
        let job = try densenet(
            ["report", run, "--png", scratch("a.png")], environment: ["PATH": scratch.path],
            status: Failure.Kind.unavailable.rawValue)
        #expect(job.errors.contains("--png needs the program rsvg-convert") && job.errors.contains("librsvg2-bin"))
        #expect(!FileManager.default.fileExists(atPath: scratch("a.png")))
        let isInstalled = ["/usr/bin", "/usr/local/bin"].contains {
            FileManager.default.fileExists(atPath: $0 + "/rsvg-convert")
        }
        guard isInstalled else { try Test.cancel(Comment(rawValue: saying("rsvg-convert is not installed"))) }
        try densenet(["report", run, "--png", scratch("a.png"), "--out", scratch("page.html")])
        let picture = try scratch.read("a.png")
        #expect(picture.starts(with: [0x89, 0x50, 0x4E, 0x47]) && picture.count > 10_000)
        #expect(FileManager.default.fileExists(atPath: scratch("page.html")))
    }
}
