import FoundationEssentials
import Glibc
import Safetensors
import Support

/// Where a run stood: after how many steps in all, in which epoch.
package struct CheckpointPosition: Comparable, Hashable, Sendable {
    package let epoch: Int
    /// Steps since the beginning of the run, over all epochs.
    package let step: Int

    package init(epoch: Int, step: Int) {
        precondition(epoch >= 0 && step >= 0, "no run stands at epoch \(epoch), step \(step)")
        self.epoch = epoch
        self.step = step
    }

    /// Reads `checkpoint-EEEEE-SSSSSSSS.safetensors`; nil for any other name.
    init?(fileName: String) {
        guard fileName.hasPrefix("checkpoint-"), fileName.hasSuffix(".safetensors") else { return nil }
        let numbers = fileName.dropFirst(11).dropLast(12).split(separator: "-").compactMap { Int($0) }
        guard numbers.count == 2, numbers.allSatisfy({ $0 >= 0 }) else { return nil }
        self.init(epoch: numbers[0], step: numbers[1])
        guard self.fileName == fileName else { return nil }
    }

    var fileName: String {
        "checkpoint-\(String(epoch).paddedWithZeros(to: 5))-\(String(step).paddedWithZeros(to: 8)).safetensors"
    }

    package static func < (a: Self, b: Self) -> Bool { (a.epoch, a.step) < (b.epoch, b.step) }
}

/// What a checkpoint is made of: named float tensors (borrowed) and words. It knows no network.
package struct Checkpoint {
    package let position: CheckpointPosition
    package let tensors: [NamedTensor]
    /// Whatever else resuming needs. The keys `version`, `epoch`, `step` and `checksum` are added when writing.
    package let metadata: [String: String]

    package init(position: CheckpointPosition, tensors: [NamedTensor], metadata: [String: String]) {
        self.position = position
        self.tensors = tensors
        self.metadata = metadata
    }
}

/// A checkpoint found on disk whose checksum is right. Tensors are read from `file` straight to where they belong.
package struct StoredCheckpoint: Sendable {
    package let position: CheckpointPosition
    package let file: SafetensorsFile
}

/// The checkpoints of a run, one safetensors file each, named by epoch and global step. Rank zero alone has one.
package struct CheckpointFolder: Sendable {
    package let path: String
    /// How many to keep, from the newest back.
    package let keep: Int

    package init(path: String, keep: Int = 3) {
        precondition(keep >= 1, "a run without a checkpoint cannot be resumed")
        self.path = path
        self.keep = keep
    }

    /// Writes a checkpoint atomically, then removes those older than the last `keep` up to this one, but for `best`.
    ///
    /// Files newer than the one written are left alone: damaged rests from before a resume, which must not push out
    /// good ones.
    ///
    /// A folder that has gone is made again, with a warning.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; all older checkpoints stand then.
    package func write(_ checkpoint: Checkpoint, sparing best: CheckpointPosition? = nil) throws {
        var metadata = checkpoint.metadata
        metadata["version"] = String(FormatVersion.current)
        metadata["epoch"] = String(checkpoint.position.epoch)
        metadata["step"] = String(checkpoint.position.step)
        var checksum = CheckpointChecksum(metadata)
        for tensor in checkpoint.tensors.sorted(by: { $0.name < $1.name }) {
            checksum.add(tensor.name, tensor.shape)
            checksum.add(UnsafeRawBufferPointer(tensor.values))
        }
        metadata["checksum"] = checksum.text
        let complete = metadata
        func write() throws {
            try SafetensorsWriter.write(to: file(checkpoint.position), tensors: checkpoint.tensors, metadata: complete)
            for old in try positions().filter({ $0 <= checkpoint.position }).dropLast(keep) where old != best {
                unlink(file(old))
            }
        }
        do { try write() } catch  where mkdir(path, 0o777) == 0 {
            Console.note("\(path) was gone, and older checkpoints with it; it has been made again")
            try write()
        }
    }

    /// The newest checkpoint that is whole, with a line of warning for each newer one that is not; nil when there is
    /// none at all.
    ///
    /// - Throws: `Failure(.noInput)` when the folder cannot be read, `Failure(.data)` when all checkpoints in it are
    ///   damaged or the newest one that is whole is of a newer program.
    package func newestValid() throws -> (checkpoint: StoredCheckpoint, warnings: [String])? {
        var damages: [Failure] = []
        for position in try positions().reversed() {
            let checkpoint: StoredCheckpoint
            do { checkpoint = try open(position) } catch let damage as Failure {
                damages.append(damage)
                continue
            }
            try FormatVersion.check(checkpoint.file.metadata["version"].flatMap { Int($0) }, of: checkpoint.file.path)
            return (checkpoint, damages.map { "skipped a damaged checkpoint: \($0)" })
        }
        guard let first = damages.first else { return nil }
        throw Failure(.data, "\(path): none of \(damages.count) checkpoints can be used; the newest: \(first)")
    }

    /// All checkpoints by name, oldest first, whole or not.
    func positions() throws -> [CheckpointPosition] {
        try names(inFolder: path).compactMap(CheckpointPosition.init(fileName:)).sorted()
    }

    private func file(_ position: CheckpointPosition) -> String { path + "/" + position.fileName }

    private func open(_ position: CheckpointPosition) throws -> StoredCheckpoint {
        let file = try SafetensorsFile(path: file(position))
        var metadata = file.metadata
        guard let expected = metadata.removeValue(forKey: "checksum") else {
            throw Failure(.data, "\(file.path): has no checksum; it is not a checkpoint of this program")
        }
        var checksum = CheckpointChecksum(metadata)
        let chunk = AlignedBuffer<UInt8>(count: 1 << 20)
        for (name, info) in file.tensors.sorted(by: { $0.key < $1.key }) {
            // The checksum does not cover the type, since the program writes no other.
            guard info.dtype == .float32 else {
                throw Failure(.data, "\(file.path): has a tensor that is \(info.dtype.rawValue), expected F32")
            }
            checksum.add(name, info.shape)
            for start in stride(from: info.range.lowerBound, to: info.range.upperBound, by: chunk.count) {
                let range = start..<min(start + chunk.count, info.range.upperBound)
                let bytes = UnsafeMutableRawBufferPointer(chunk[0..<range.count])
                try file.read(range, into: bytes)
                checksum.add(UnsafeRawBufferPointer(bytes))
            }
        }
        guard checksum.text == expected else {
            throw Failure(.data, "\(file.path): has the checksum \(checksum.text), expected \(expected)")
        }
        guard metadata["epoch"] == String(position.epoch), metadata["step"] == String(position.step) else {
            let truePosition = "epoch \(metadata["epoch"] ?? "?"), step \(metadata["step"] ?? "?")"
            throw Failure(.data, "\(file.path): has been renamed, it is of \(truePosition)")
        }
        return StoredCheckpoint(position: position, file: file)
    }
}

/// CRC-32 (zlib) over a checkpoint: the metadata as sorted lines `key=value`, then each tensor's name, shape and bytes,
/// by name.
private struct CheckpointChecksum {
    private var sum = CRC32()

    init(_ metadata: [String: String]) {
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { sum.add("\(key)=\(value)\n") }
    }

    mutating func add(_ name: String, _ shape: [Int]) { sum.add("\(name) \(shape)\n") }

    mutating func add(_ bytes: UnsafeRawBufferPointer) { sum.add(bytes) }

    var text: String { sum.text }
}
