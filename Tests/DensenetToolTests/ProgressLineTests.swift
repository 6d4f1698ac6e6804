import Glibc
import TestSupport
import Testing

@testable import DensenetTool

@Suite struct ProgressLineTests {
    /// Done, total, seconds, loss, accuracy, and what tqdm 4.70.1 (`format_meter`) makes of them.
    static let lines: [(Int, Int, Double, Double, Double, String)] = [
        (
            782, 782, 56.5, 1.5326, 0.4452,
            "loss: 1.5326, accuracy: 0.4452: 100%|██████████| 782/782 [00:56<00:00, 13.84it/s]"
        ),
        (0, 782, 0, 0, 0, "loss: 0.0000, accuracy: 0.0000:   0%|          | 0/782 [00:00<?, ?it/s]"),
        (1, 782, 2.5, 2.3026, 0.1, "loss: 2.3026, accuracy: 0.1000:   0%|          | 1/782 [00:02<32:32,  2.50s/it]"),
        (300, 782, 21.7, 1.9, 0.3, "loss: 1.9000, accuracy: 0.3000:  38%|███▊      | 300/782 [00:21<00:34, 13.82it/s]"),
        (
            391, 782, 40000, 0.5, 0.8,
            "loss: 0.5000, accuracy: 0.8000:  50%|█████     | 391/782 [11:06:40<11:06:40, 102.30s/it]"
        ),
        (781, 782, 100, 0.5, 0.8, "loss: 0.5000, accuracy: 0.8000: 100%|█████████▉| 781/782 [01:40<00:00,  7.81it/s]"),
        (7, 16, 3599.9, 0.1, 1, "loss: 0.1000, accuracy: 1.0000:  44%|████▍     | 7/16 [59:59<1:17:08, 514.27s/it]"),
        (
            5, 1000, 7300, 10.25, 0,
            "loss: 10.2500, accuracy: 0.0000:   0%|          | 5/1000 [2:01:40<403:31:40, 1460.00s/it]"
        ),
        (37, 100, 3.9, 1, 1, "loss: 1.0000, accuracy: 1.0000:  37%|███▋      | 37/100 [00:03<00:06,  9.49it/s]"),
    ]

    @Test(arguments: lines)
    func `the line is tqdm's`(done: Int, total: Int, seconds: Double, loss: Double, accuracy: Double, expected: String)
    {
        let text = ProgressLine.text(
            phase: "Training", ProgressLine.State(done: done, loss: loss, accuracy: accuracy), total: total,
            seconds: seconds)
        #expect(text == "[Training] " + expected)
    }

    @Test func `numbers beyond all measure are printed too`() {
        for value in [Double.nan, .infinity, .greatestFiniteMagnitude, -1] {
            for (done, total) in [(0, 0), (5, 3), (1, Int.max)] {
                let text = ProgressLine.text(
                    phase: "T", ProgressLine.State(done: done, loss: value, accuracy: value, runSeconds: value),
                    total: total, seconds: value)
                #expect(text.hasPrefix("[T] loss: "))
            }
        }
    }

    @Test(arguments: 40...100)
    func `the line fits any terminal from forty columns on, and says as much as it has room for`(columns: Int) {
        for ascii in [true, false] {
            for (done, total) in [(1, 24), (391, 782), (50_000, 50_000)] {
                for epochs in [1, 300] {
                    let text = ProgressLine.text(
                        phase: "Training",
                        ProgressLine.State(done: done, loss: 2.314, accuracy: 0.1094, runSeconds: 187_200),
                        place: ProgressLine.Place(epoch: epochs, epochs: epochs), total: total, seconds: 8000,
                        columns: columns, ascii: ascii)
                    #expect(text.count <= columns, "\(text)")
                    #expect(text.contains("%") && text.contains("2.3140") && text.hasSuffix(", run 2 d 4 h"), "\(text)")
                    #expect(text.contains("\(epochs)/\(epochs)] ") && text.contains("<") || columns < 65, "\(text)")
                    #expect(text.contains("acc") || columns < 80, "\(text)")
                    #expect(!ascii || text.utf8.count == text.count, "\(text)")
                }
            }
        }
    }

    @Test func `of an epoch that is resumed the rate is that of the steps since`() {
        let text = ProgressLine.text(
            phase: "Training", ProgressLine.State(done: 310, loss: 1, accuracy: 1), total: 400, first: 300, seconds: 5)
        #expect(text.hasSuffix(" 310/400 [00:05<00:45,  2.00it/s]"), "\(text)")
    }

    /// What lines come through a pipe when a hundred steps are reported, with a pace in seconds.
    private func plainLines(_ pace: ProgressLine.Pace) -> [String] {
        var ends: [Int32] = [0, 0]
        pipe(&ends)
        defer { close(ends[0]) }
        var line = ProgressLine(
            phase: "Training", place: ProgressLine.Place(epoch: 3, epochs: 9), total: 100, descriptor: ends[1],
            pace: pace)
        for step in 1...100 { line.update(done: step, loss: 1.5, accuracy: 0.5) }
        line.finish()
        close(ends[1])
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = max(read(ends[0], &bytes, bytes.count), 0)
        return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test func `without a terminal there is a line for each tenth, or each few minutes, in plain words`() {
        let tenths = plainLines(.tenths(LogBudget(), 0...60))
        #expect(
            tenths.count == 10
                && tenths[3].hasPrefix("[Training] epoch 3/9:  40% 40/100, loss: 1.5000, accuracy: 0.5000 ["),
            "\(tenths)"
        )
        #expect(tenths.allSatisfy { $0.utf8.allSatisfy { $0 >= 32 && $0 < 127 } })
        // Beyond what there is room for, lines are left out.
        let budget = LogBudget()
        #expect(plainLines(.tenths(budget, 0...0)).count == 100, "more than some minutes since the last line")
        #expect(plainLines(.tenths(budget, 0...0)).count < 100)
    }

    @Test func `an interval that is given is kept exactly, counted over the run`() {
        #expect(
            plainLines(.steps(40)).map { $0.split(separator: ",")[0] }.map { $0.suffix(6) } == ["40/100", "80/100"])
        #expect(
            plainLines(.steps(40, before: 100)).map { $0.split(separator: ",")[0] }.map { $0.suffix(7) } == [
                " 20/100", " 60/100", "100/100",
            ])
        #expect(plainLines(.steps(1000)).isEmpty)
    }

    @Test func `nothing is written where there is no terminal and an epoch takes seconds`() {
        var ends: [Int32] = [0, 0]
        pipe(&ends)
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        defer { for end in ends { close(end) } }
        var line = ProgressLine(phase: "Training", total: 2, descriptor: ends[1], pace: .tenths)
        for step in 1...2 { line.update(done: step, loss: 1, accuracy: 0.5) }
        line.finish()
        var byte: UInt8 = 0
        #expect(read(ends[0], &byte, 1) == -1 && errno == EAGAIN)
    }

    @Test func `a terminal is redrawn in place, seldom, within its width, and shows the last step`() throws {
        // What openpty(3) does, in Linux's own words: TIOCSPTLCK unlocks the other end, TIOCGPTN gives its number.
        let master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK)
        var locked: Int32 = 0
        var number: Int32 = 0
        try #require(ioctl(master, 0x4004_5431, &locked) == 0 && ioctl(master, 0x8004_5430, &number) == 0)
        let slave = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_NONBLOCK)
        defer {
            close(slave)
            close(master)
        }
        var size = winsize(ws_row: 24, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0)
        #expect(ioctl(slave, UInt(TIOCSWINSZ), &size) == 0)
        var line = ProgressLine(phase: "Training", total: 1000, descriptor: slave, pace: .steps(1))
        for step in 1...1000 { line.update(done: step, loss: 1, accuracy: 0.5) }
        line.finish()
        let text = everything(from: master)
        #expect(text.hasSuffix("\r\n"))
        let drawn = text.unicodeScalars.split(separator: "\r").map { String(String.UnicodeScalarView($0)) }.filter {
            $0 != "\n"
        }
        // A thousand steps take some milliseconds; even a stalled machine does not redraw each of them.
        #expect(drawn.count >= 2 && drawn.count < 50, "\(drawn.count) lines")
        #expect(drawn.allSatisfy { $0.count <= 70 })
        #expect(
            drawn.last?.hasPrefix("[Training] loss 1.0000, acc 0.5000: 100%|██████████| [<00:0") == true
                || drawn.last?.hasPrefix("[Training] loss 1.0000, acc 0.5000: 100%|##########| [<00:0") == true,
            "\(drawn)")
    }

    @Test func `a message in the middle of an epoch has a line of its own on a terminal`() throws {
        let scratch = ScratchFolder()
        let program = try builtExecutable(named: "densenet")
        // The second step has no numbers left.
        let options =
            "--model densenet-10-2 --epochs 1 --limit-train 64 --limit-test 8 --batch-size 8 --learning-rate 1e30"
        let job = try run(
            "script", ["-qec", "'\(program)' train --out '\(scratch("run"))' \(options)", "/dev/null"],
            environment: ["LC_ALL": "C.UTF-8", "TERM": "dumb"])
        let lines = job.output.split { $0 == "\r" || $0 == "\n" || $0 == "\r\n" }
        let drawn = try #require(lines.firstIndex { $0.hasPrefix("[Training 1/1] ") }, "\(job)")
        #expect(lines[drawn...].contains { $0.hasPrefix("densenet: epoch 1, step ") }, "\(job)")
        #expect(!job.output.contains("\u{1B}"))
    }

    /// What arrives at a terminal until a line feed.
    private func everything(from master: Int32) -> String {
        var all: [UInt8] = []
        var ready = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
        while all.last != UInt8(ascii: "\n"), poll(&ready, 1, 2000) == 1 {
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = read(master, &bytes, bytes.count)
            guard count > 0 else { break }
            all += bytes[..<count]
        }
        return String(decoding: all, as: UTF8.self)
    }
}
