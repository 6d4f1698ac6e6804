import FoundationEssentials
import Safetensors
import Support
import TestSupport
import Testing

@testable import Training

@Suite struct CheckpointOptionTests {
    let scratch = ScratchFolder()

    private func checkpoints(_ path: String) throws -> [CheckpointPosition] {
        try CheckpointFolder(path: path + "/checkpoints").positions()
    }

    @Test func `the number of checkpoints given by keep is kept, and the best one with its weights`() throws {
        // A rate that is harmful towards the end, so that the best epoch is not the last.
        let run = try train(
            smallRun + ["--epochs", "8", "--keep", "2", "--learning-rate", "3", "--schedule", "constant"],
            out: scratch("run"), ranks: 2)
        let accuracies = run.epochs.map(\.testAccuracy)
        let best = 1 + accuracies.firstIndex(of: accuracies.max()!)!
        #expect(try checkpoints(run.path).map(\.epoch) == Set([best, 7, 8]).sorted(), "\(accuracies)")
        let file = try SafetensorsFile(path: run.path + "/best.safetensors")
        #expect(file.metadata["epoch"] == "\(best)" && file.metadata["test_accuracy"] == "\(accuracies.max()!)")
        let position = try #require(checkpoints(run.path).first { $0.epoch == best })
        let checkpoint = try SafetensorsFile(path: run.path + "/checkpoints/" + position.fileName)
        for name in file.tensors.keys {
            #expect(try file.floats(named: name) == checkpoint.floats(named: name), "\(name)")
        }
        let evaluation = try densenet(["evaluate", "--weights", run.path + "/best.safetensors", "--limit-test", "32"])
        #expect(
            evaluation.output.contains("Test accuracy: \(accuracies.max()!.formatted(places: 4))"),
            "\(evaluation.output)")
        print("accuracies \(accuracies), kept \(try checkpoints(run.path).map(\.epoch))")
    }

    @Test func `the best epoch is still known when a run is resumed, and keep may be changed`() throws {
        let options = smallRun + ["--epochs", "8", "--learning-rate", "3", "--schedule", "constant"]
        let whole = try train(options, out: scratch("whole"))
        // Half of the run; then config.json of the whole.
        let part = try train(options + ["--steps", "16"], out: scratch("part"))
        try FileManager.default.removeItem(atPath: part.path + "/config.json")
        try FileManager.default.copyItem(atPath: whole.path + "/config.json", toPath: part.path + "/config.json")
        let job = try densenet(["train", "--resume", part.path, "--keep", "1"])
        #expect(job.status == 0, "\(job.errors)")
        #expect(try FinishedRun(path: part.path).weights == whole.weights)
        #expect(try scratch.read("part/best.safetensors") == scratch.read("whole/best.safetensors"))
        let best = try #require(Int(SafetensorsFile(path: whole.path + "/best.safetensors").metadata["epoch"] ?? ""))
        #expect(try checkpoints(part.path).map(\.epoch) == Set([best, 8]).sorted())
    }

    @Test func `checkpoint-steps writes within an epoch, and resuming from there gives exactly the same result`() throws
    {
        let options = smallRun + ["--epochs", "3"]
        let whole = try train(options, out: scratch("whole"), ranks: 2)
        let run = try train(options + ["--checkpoint-steps", "3", "--keep", "9"], out: scratch("run"), ranks: 2)
        #expect(run.weights == whole.weights && run.results == whole.results)
        // Four steps per epoch.
        #expect(try checkpoints(run.path).map(\.step) == [3, 4, 6, 8, 9, 12])
        #expect(try checkpoints(run.path).map(\.epoch) == [0, 1, 1, 2, 2, 3])
        for name in try checkpoints(run.path).dropFirst(2 + 1).map(\.fileName) {
            try FileManager.default.removeItem(atPath: run.path + "/checkpoints/" + name)
        }
        let job = try densenet(["train", "--resume", run.path], ranks: 2)
        #expect(
            job.status == 0 && job.output.lines.contains("resuming at epoch 2, step 3"), "\(job.output)\(job.errors)")
        #expect(try FinishedRun(path: run.path).weights == whole.weights)
        try expectWholeEvents(of: try FinishedRun(path: run.path), stepsPerEpoch: 4)
    }

    /// Mounts a file system of some kilobytes for a run's checkpoints; false if this process may not.
    private func mountSmallDisk(_ path: String, kilobytes: Int) throws -> Bool {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return try run("mount", ["-t", "tmpfs", "-o", "size=\(kilobytes)k", "tmpfs", path]).status == 0
    }

    @Test func `a full disk stops a run, or gives a warning per checkpoint, and the previous one is kept`() throws {
        let options = smallRun + ["--epochs", "4", "--keep", "1"]
        let whole = try train(options, out: scratch("whole"))
        let name = try #require(try checkpoints(whole.path).last).fileName
        let size = try scratch.read("whole/checkpoints/" + name).count
        for (word, status) in [("stop", Failure.Kind.unavailable.rawValue), ("continue", 0)] {
            let path = scratch(word)
            let disk = path + "/checkpoints"
            // Space for one checkpoint but not for two.
            guard try mountSmallDisk(disk, kilobytes: size / 1024 * 3 / 2) else {
                try Test.cancel("only root can mount a small disk")
            }
            defer { _ = try? run("umount", ["-l", disk]) }
            let job = try densenet(["train", "--out", path, "--on-checkpoint-error", word] + options, ranks: 2)
            #expect(job.status == status, "\(job.errors)")
            let lines = job.errors.lines.filter { $0.hasPrefix("densenet: ") }
            #expect(lines.count == (word == "stop" ? 1 : 3), "\(job.errors)")
            for line in lines {
                #expect(line.contains("cannot write \(disk)/checkpoint-") && line.contains("No space left on device"))
                #expect(line.hasSuffix("; training continues without") == (word == "continue"))
            }
            let (found, warnings) = try #require(try CheckpointFolder(path: disk).newestValid())
            #expect(found.position.epoch == 1 && warnings.isEmpty)
            #expect(try FileManager.default.contentsOfDirectory(atPath: disk).count == 1, "a temporary file stays")
            print(lines.joined(separator: "\n"))
        }
        let twoRanks = try train(options, out: scratch("two"), ranks: 2)
        #expect(try FinishedRun(path: scratch("continue")).weights == twoRanks.weights)
    }

    @Test func `impossible values are refused`() throws {
        for (option, value, words) in [
            ("--keep", "0", "--keep is 0, expected "),
            ("--checkpoint-steps", "0", "--checkpoint-steps is 0, expected "),
            ("--on-checkpoint-error", "ask", "The value 'ask' is invalid for '--on-checkpoint-error "),
        ] {
            let job = try densenet(["train", "--out", scratch("run"), option, value])
            #expect(job.status == 64 && job.errors.hasPrefix("densenet: \(words)"), "\(job.errors)")
        }
    }
}
