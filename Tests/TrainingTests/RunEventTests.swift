import FoundationEssentials
import Support
import TestSupport
import Testing
import Training

/// The event files of real runs. That stopped and killed runs repeat and lack nothing, `StopAndResumeTests` and
/// `KillTests` expect.
@Suite struct RunEventTests {
    let scratch = ScratchFolder()

    @Test func `the steps of an epoch come to its numbers, and a longer run goes on in another file`() throws {
        let run = try train(smallRun + ["--epochs", "2"], out: scratch("run"), ranks: 2)
        try expectWholeEvents(of: run, stepsPerEpoch: 4)
        let values = try eventValues(inFolder: run.path + "/events")
        for (tag, number) in [("step/loss", run.epochs[0].trainLoss), ("step/accuracy", run.epochs[0].trainAccuracy)] {
            let mean = values.filter { $0.tag == tag }.prefix(4).reduce(0) { $0 + Double($1.number ?? .nan) } / 4
            #expect(abs(mean - number) < 1e-6, "\(tag)")
        }
        #expect(values.filter { $0.tag == "epoch/confusion_matrix" }.map(\.step) == [1, 2])
        let parameters = try #require(values.first { $0.tag == "_hparams_/session_start_info" }?.plugin)
        for text in ["learningRate", "augmentation", "crop,flip", "limitTrain", "64"] {
            #expect(parameters.contains(Array(text.utf8)), "\(text)")
        }

        let job = try densenet(["train", "--resume", run.path, "--epochs", "4"])
        #expect(job.status == 0, "\(job.errors)")
        try expectWholeEvents(of: try FinishedRun(path: run.path), stepsPerEpoch: 4)
        #expect(try FileManager.default.contentsOfDirectory(atPath: run.path + "/events").count == 2)
    }

    @Test func `a run without event files trains as one with them, after one warning`() throws {
        let whole = try train(smallRun + ["--epochs", "2"], out: scratch("whole"))
        try FileManager.default.createDirectory(atPath: scratch("run"), withIntermediateDirectories: true)
        _ = try scratch.write([], to: "run/events")
        let job = try densenet(["train", "--out", scratch("run")] + smallRun + ["--epochs", "2"])
        #expect(job.status == 0)
        #expect(
            job.errors.lines == [
                "densenet: cannot make the folder \(scratch("run/events")): a file of that name exists; choose another path; "
                    + "training continues without event files"
            ])
        #expect(try FinishedRun(path: scratch("run")).weights == whole.weights)
    }

    @Test func `a full disk ends the event files with a whole record, and nothing else`() throws {
        let options = smallRun + ["--epochs", "8"]
        let whole = try train(options, out: scratch("whole"))
        let size = try FileManager.default.contentsOfDirectory(atPath: whole.path + "/events").reduce(0) {
            try $0 + scratch.read("whole/events/\($1)").count
        }
        let disk = scratch("run/events")
        try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
        // Space for the start, but not for all epochs: what they write is more than a page.
        let space = (size - 4096) / 4096 * 4
        guard try run("mount", ["-t", "tmpfs", "-o", "size=\(space)k", "tmpfs", disk]).status == 0 else {
            try Test.cancel("only root can mount a small disk")
        }
        defer { _ = try? run("umount", ["-l", disk]) }
        let job = try densenet(["train", "--out", scratch("run")] + options)
        #expect(job.status == 0 && job.errors.lines.count == 1, "\(job.errors)")
        #expect(job.errors.contains("/events/events.out.tfevents.") && job.errors.contains("No space left on device"))
        #expect(try FinishedRun(path: scratch("run")).weights == whole.weights)
        let steps = try eventValues(inFolder: disk).filter { $0.tag == "step/loss" }.map(\.step)
        #expect(steps.count >= 4 && steps.count < 32 && steps == Array(1...steps.count), "\(steps)")
    }
}

extension [UInt8] {
    fileprivate func contains(_ part: [UInt8]) -> Bool { firstRange(of: part) != nil }
}
