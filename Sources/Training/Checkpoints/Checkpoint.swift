import DenseNetModel
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
    private let version: Int

    /// - Parameter version: see `FormatVersion`; nil for the first.
    package init(
        position: CheckpointPosition, tensors: [NamedTensor], metadata: [String: String], version: Int? = nil
    ) {
        self.position = position
        self.tensors = tensors
        self.metadata = metadata
        self.version = version ?? FormatVersion.first
    }

    /// Writes a file atomically, with its version and a checksum.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses.
    func write(to path: String) throws {
        var complete = metadata
        complete["version"] = String(version)
        complete["epoch"] = String(position.epoch)
        complete["step"] = String(position.step)
        var checksum = CheckpointChecksum(complete)
        for tensor in tensors.sorted(by: { $0.name < $1.name }) {
            checksum.add(tensor.name, tensor.shape)
            tensor.withUnsafeBytes { checksum.add($0) }
        }
        complete["checksum"] = checksum.text
        try SafetensorsWriter.write(to: path, tensors: tensors, metadata: complete)
    }
}

/// A checkpoint found on disk whose checksum is right. Tensors are read from `file` straight to where they belong.
package struct StoredCheckpoint: Sendable {
    package let position: CheckpointPosition
    package let file: SafetensorsFile

    /// Opens a file and checks it against its checksum and its name.
    ///
    /// - Throws: `Failure(.noInput)` or `Failure(.data)` when it cannot be read or is not whole.
    init(path: String, position: CheckpointPosition) throws {
        let file = try SafetensorsFile(path: path)
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
        self.position = position
        self.file = file
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

// MARK: - What a run's checkpoints hold

/// A momentum has its parameter's name with this prefix.
let momentumPrefix = "momentum."
/// The average of a weight or a running statistic has its name with this prefix.
let averagePrefix = "ema."
/// The metadata key for how often the average has followed the weights.
private let averageUpdatesKey = "ema_updates"

/// A copy of everything that a run's checkpoints hold, allocated once. Its owner makes sure that nothing writes to it
/// while another thread reads.
struct CheckpointContents: Sendable {
    private let table: ParameterTable
    private let parameters: AlignedBuffer<Float>
    private let statistics: AlignedBuffer<Float>
    private let momenta: AlignedBuffer<Float>
    private let averages: Averages?
    private let metadata: [String: String]
    private let version: Int

    /// Of a run that has a moving average.
    private struct Averages {
        let parameters, statistics: AlignedBuffer<Float>
    }

    /// - Parameters:
    ///   - metadata: what every file carries beside the network's configuration.
    ///   - version: of checkpoints; see `FormatVersion`.
    init(_ step: TrainingStep, metadata: [String: String], version: Int) throws {
        self.version = version
        table = step.network.table
        parameters = AlignedBuffer(count: table.parameterCount)
        statistics = AlignedBuffer(count: table.runningStatisticsCount)
        momenta = AlignedBuffer(count: table.parameterCount)
        averages = step.average.map {
            Averages(
                parameters: AlignedBuffer(count: $0.parameters.count),
                statistics: AlignedBuffer(count: $0.statistics.count))
        }
        let configuration = try WeightsFile.configurationText(step.network.configuration)
        self.metadata = metadata.merging(["config": configuration]) { $1 }
    }

    func copy(from step: TrainingStep) {
        _ = parameters.elements.update(fromContentsOf: step.network.parameters)
        _ = statistics.elements.update(fromContentsOf: step.network.runningStatistics)
        _ = momenta.elements.update(fromContentsOf: step.optimizer.momentumBuffer.elements)
        guard let averages, let average = step.average else { return }
        _ = averages.parameters.elements.update(fromContentsOf: average.parameters.elements)
        _ = averages.statistics.elements.update(fromContentsOf: average.statistics.elements)
    }

    /// What was copied last, as a checkpoint that borrows this memory.
    ///
    /// - Parameter averageUpdates: how often the average, if there is one, had followed the weights.
    func checkpoint(_ state: RunState, at position: CheckpointPosition, averageUpdates: Int?) -> Checkpoint {
        let momentumTensors = table.trainable.map { parameter in
            NamedTensor(
                name: momentumPrefix + parameter.name, shape: parameter.shape,
                values: UnsafeBufferPointer(momenta[parameter.range]))
        }
        var metadata = state.metadata.merging(metadata) { $1 }
        metadata[averageUpdatesKey] = averageUpdates.map { "\($0)" }
        let tensors = weights + momentumTensors + (averages.map { named($0, prefix: averagePrefix) } ?? [])
        return Checkpoint(position: position, tensors: tensors, metadata: metadata, version: version)
    }

    /// Writes the weights that were copied last, or their average where there is one, as those of the best epoch.
    ///
    /// - Parameter summary: further metadata.
    /// - Throws: `Failure(.unavailable)` when the system refuses.
    func writeWeights(of best: BestEpoch, to path: String, summary: [String: String]) throws {
        let metadata = metadata.merging(best.metadata) { $1 }.merging(["format": "pt"]) { $1 }.merging(summary) { $1 }
        try SafetensorsWriter.write(
            to: path, tensors: averages.map { named($0, prefix: "") } ?? weights, metadata: metadata)
    }

    private var weights: [NamedTensor] {
        WeightsFile.tensors(table, parameters: parameters.elements, statistics: statistics.elements)
    }

    private func named(_ averages: Averages, prefix: String) -> [NamedTensor] {
        WeightsFile.tensors(
            table, parameters: averages.parameters.elements, statistics: averages.statistics.elements, prefix: prefix)
    }
}

extension TrainingStep {
    /// Reads what `CheckpointContents` has written: weights, running statistics, momenta, averages and the run's state.
    ///
    /// - Throws: `Failure(.data)` when it is of another network or damaged.
    func read(_ checkpoint: StoredCheckpoint, stepsPerEpoch: Int) throws -> RunState {
        let file = checkpoint.file
        guard try WeightsFile.configuration(in: file) == network.configuration else {
            throw Failure(
                .data,
                "\(file.path): is a checkpoint of another network than the run's config.json says; remove it or mend that"
            )
        }
        try WeightsFile.read(from: file, prefix: "", into: network)
        for parameter in network.table.trainable {
            try file.floats(
                named: momentumPrefix + parameter.name, shape: parameter.shape,
                into: optimizer.momentumBuffer[parameter.range])
        }
        if let average {
            _ = try withAverage { try WeightsFile.read(from: file, prefix: averagePrefix, into: network) }
            guard let updates = file.metadata[averageUpdatesKey].flatMap({ Int($0) }), updates >= 0 else {
                throw Failure(
                    .data,
                    "\(file.path): the metadata key '\(averageUpdatesKey)' is "
                        + "\(file.metadata[averageUpdatesKey] ?? "missing"), expected a number of steps")
            }
            average.updates = updates
        }
        let state = try RunState(file.metadata, path: file.path)
        guard state.stepInEpoch <= stepsPerEpoch else {
            throw Failure(
                .data,
                "\(file.path): stands at step \(state.stepInEpoch) of an epoch that has \(stepsPerEpoch); the data has changed"
            )
        }
        return state
    }
}

extension RunState {
    private static let keys = [
        "epoch_in_progress", "step_in_epoch", "loss_sum", "correct", "images", "seconds", "loss_weight",
    ]

    /// Whether a file's metadata are those of a checkpoint.
    static func isOfCheckpoint(_ metadata: [String: String]) -> Bool { metadata[keys[0]] != nil }

    /// As text that gives back the very same numbers.
    var metadata: [String: String] {
        Dictionary(uniqueKeysWithValues: zip(Self.keys, numbers.map { String($0) }))
    }

    init(_ metadata: [String: String], path: String) throws {
        let numbers = try Self.keys.map { key in
            // Checkpoints of older programs, which weighted no classes, lack the last one.
            let substitute = key == Self.keys[6] ? metadata[Self.keys[4]] : nil
            guard let text = metadata[key] ?? substitute, let number = Double(text), number.isFinite, number >= 0 else {
                throw Failure(
                    .data, "\(path): the metadata key '\(key)' is \(metadata[key] ?? "missing"), expected a number")
            }
            return number
        }
        guard numbers[0] >= 1, numbers[0] < 0x1p31, numbers[1] < 0x1p31 else {
            throw Failure(.data, "\(path): stands at epoch \(numbers[0]), step \(numbers[1]), which no run does")
        }
        self.init(numbers)
    }
}
