import FoundationEssentials
import Safetensors
import Support
import TestSupport
import Testing

@testable import Training

@Suite struct CheckpointFolderTests {
    let scratch = ScratchFolder()
    var folder: CheckpointFolder { CheckpointFolder(path: scratch.path) }

    /// Writes a checkpoint whose weights are all `value`.
    private func write(_ epoch: Int, _ step: Int, value: Float, sparing best: CheckpointPosition? = nil) throws {
        try [Float](repeating: value, count: 1000).withUnsafeBufferPointer { values in
            let weights = NamedTensor(name: "weights", shape: [10, 100], values: values)
            let momentum = NamedTensor(
                name: "momentum", shape: [3], values: UnsafeBufferPointer(rebasing: values[..<3]))
            let position = CheckpointPosition(epoch: epoch, step: step)
            try folder.write(
                Checkpoint(position: position, tensors: [weights, momentum], metadata: ["seed": "7"]), sparing: best)
        }
    }

    private func name(_ epoch: Int, _ step: Int) -> String { CheckpointPosition(epoch: epoch, step: step).fileName }

    @Test func `a written checkpoint is the newest and complete`() throws {
        #expect(try folder.newestValid()?.checkpoint.position == nil)
        try write(1, 782, value: 0.5)
        #expect(scratch.names == ["checkpoint-00001-00000782.safetensors"])
        let (found, warnings) = try #require(try folder.newestValid())
        #expect(found.position == CheckpointPosition(epoch: 1, step: 782) && warnings == [])
        #expect(try found.file.floats(named: "weights", shape: [10, 100]) == [Float](repeating: 0.5, count: 1000))
        #expect(found.file.metadata["seed"] == "7" && found.file.metadata["step"] == "782")
    }

    @Test func `the last three are kept, and the best`() throws {
        let best = CheckpointPosition(epoch: 2, step: 20)
        for epoch in 1...6 { try write(epoch, epoch * 10, value: 1, sparing: best) }
        #expect(scratch.names == [name(2, 20), name(4, 40), name(5, 50), name(6, 60)])
    }

    @Test func `files of other names are neither read nor removed`() throws {
        let others = ["checkpoint-1-2.safetensors", "checkpoint-00001-00000001.safetensors.tmp-5", "notes.txt"].sorted()
        for name in others { _ = try scratch.write([1, 2, 3], to: name) }
        #expect(try folder.newestValid()?.checkpoint.position == nil)
        for epoch in 1...4 { try write(epoch, epoch, value: 1) }
        #expect(Set(scratch.names).isSuperset(of: others))
    }

    @Test func `numbers that outgrow their digits still sort`() throws {
        let positions = [(1, 2), (99_999, 99_999_999), (100_000, 100_000_000)].map {
            CheckpointPosition(epoch: $0, step: $1)
        }
        for position in positions { #expect(CheckpointPosition(fileName: position.fileName) == position) }
        #expect(positions.sorted() == positions)
    }

    @Test func `a damaged newest checkpoint is skipped with a warning, whatever byte is damaged`() throws {
        try write(1, 10, value: 1)
        try write(2, 20, value: 2)
        let whole = try scratch.read(name(2, 20))
        let undamaged = try #require(try folder.newestValid()).checkpoint
        var random = CounterRandom(.synthetic, 3)
        for _ in 0..<600 {
            var bytes = whole
            if random.below(4) == 0 {
                bytes.removeLast(1 + random.below(bytes.count))
            } else {
                // Half of the damage is in the header, although it is small.
                bytes[random.below(random.below(2) == 0 ? 400 : bytes.count)] ^= 1 << UInt8(random.below(8))
            }
            _ = try scratch.write(bytes, to: name(2, 20))
            let (found, warnings) = try #require(try folder.newestValid())
            // White space in the header may become other white space; nothing else may change.
            if found.position.epoch == 2 {
                #expect(
                    found.file.metadata == undamaged.file.metadata
                        && found.file.tensors.keys == undamaged.file.tensors.keys)
                #expect(try found.file.floats(named: "weights") == [Float](repeating: 2, count: 1000))
                continue
            }
            #expect(found.position.epoch == 1 && warnings.count == 1)
            #expect(warnings[0].hasPrefix("skipped a damaged checkpoint: \(scratch(name(2, 20))): "), "\(warnings)")
        }
    }

    @Test func `a renamed checkpoint and a different kind of file are skipped`() throws {
        try write(1, 10, value: 1)
        try FileManager.default.copyItem(atPath: scratch(name(1, 10)), toPath: scratch(name(2, 20)))
        try SafetensorsWriter.write(to: scratch(name(3, 30)), tensors: [])
        let (found, warnings) = try #require(try folder.newestValid())
        #expect(found.position.epoch == 1)
        #expect(
            warnings.count == 2 && warnings[0].contains("has no checksum") && warnings[1].contains("has been renamed"))
    }

    @Test func `if all are damaged there is an error`() throws {
        for step in 1...2 { _ = try scratch.write([1], to: name(1, step)) }
        let failure = #expect(throws: Failure.self) { try folder.newestValid() }
        #expect(failure?.kind == .data && failure?.message.contains("none of 2 checkpoints can be used") == true)
    }

    @Test func `damaged later checkpoints do not displace good ones`() throws {
        for step in 5...8 { _ = try scratch.write([1], to: name(1, step)) }
        try write(1, 3, value: 3)
        try write(1, 4, value: 4)
        let (found, warnings) = try #require(try folder.newestValid())
        #expect(found.position.step == 4 && warnings.count == 4)
    }
}
