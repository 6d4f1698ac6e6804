import DenseNetModel
import Exporting
import Glibc
import ImageData
import Safetensors
import Support
import Training

func makeTarget(_ name: String, folder: String) throws -> any Target {
    switch name {
    case "weights": try WeightsTarget(folder)
    case "pytorch": try PyTorchTarget(folder)
    case "archive": try ArchiveTarget(folder)
    case "images": try ImagesTarget(folder)
    case "configuration": try ConfigurationTarget(folder)
    case "checkpoints": try CheckpointsTarget(folder)
    case "metrics": try MetricsTarget(folder)
    case "record": try RecordTarget(folder)
    case "pictures": try PicturesTarget()
    case "table": try PictureTableTarget(folder)
    default: throw Failure(.usage, "no target is called \(name)")
    }
}

private let smallNetwork = DenseNetConfiguration(
    stem: .cifar, blocks: [1], growthRate: 1, stemChannels: 1, bottleneck: false, compression: 1, classes: 2, image: 4)

/// Weights as `evaluate` reads them: header, configuration, normalization, tensors.
struct WeightsTarget: Target {
    let kinds: Set<Failure.Kind> = [.data]
    private let path: String
    private let originals: [[UInt8]]
    private let network: DenseNet

    init(_ folder: String) throws {
        path = folder + "/weights.safetensors"
        network = try DenseNet(smallNetwork, capacity: 1)
        let normalization = #"{"mean":[0.5,0.5,0.5],"std":[1,1,1]}"#
        try WeightsFile.write(network, to: path, metadata: ["normalization": normalization])
        let values = [Float](repeating: 1, count: 6)
        let small = folder + "/small.safetensors"
        try values.withUnsafeBufferPointer {
            try SafetensorsWriter.write(
                to: small,
                tensors: [
                    NamedTensor(name: "a", shape: [2, 3], values: $0),
                    NamedTensor(name: "b", shape: [1], values: .init(rebasing: $0[..<1])),
                ],
                metadata: ["config": try WeightsFile.configurationText(smallNetwork), "normalization": normalization])
        }
        originals = [try contents(of: path), try contents(of: small), try contents(of: small), try contents(of: small)]
    }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        let original = originals[mutator.number % originals.count]
        let length = Int(original[0]) + Int(original[1]) << 8
        var header = Array(original[8..<8 + length])
        var rest = Array(original[(8 + length)...])
        // Usually the length is right, so that the JSON is what is wrong.
        var claimed: [UInt8]?
        if mutator.number > original.count {
            switch mutator.below(8) {
            case 0: mutator.damage(&rest)
            case 1:
                // The length itself: any of its 64 bits.
                let bit = mutator.below(64)
                claimed = withUnsafeBytes(of: (UInt64(length) ^ 1 << UInt64(bit)).littleEndian, Array.init)
            default: mutator.damage(&header)
            }
        }
        claimed = claimed ?? withUnsafeBytes(of: UInt64(header.count).littleEndian, Array.init)
        let isCut = (1...original.count).contains(mutator.number)
        write(isCut ? Array(original.prefix(mutator.number - 1)) : claimed! + header + rest, to: path)
        let file = try SafetensorsFile(path: path)
        for (name, info) in file.tensors where info.dtype == .float32 {
            guard try file.floats(named: name, shape: info.shape).count * 4 == info.range.count else {
                throw Failure(.internal, "a tensor of another size")
            }
        }
        _ = try WeightsFile.configuration(in: file)
        try Normalization(metadata: file.metadata, path: file.path)?.validate(channels: 3, height: 4, width: 4)
        try WeightsFile.load(file, into: network)
    }
}

/// Weights as `torch.save` writes them: the zip archive's headers, the pickle, the storages.
struct PyTorchTarget: Target {
    let kinds: Set<Failure.Kind> = [.data]
    private let path: String
    private let original: [UInt8]
    private let network: DenseNet

    init(_ folder: String) throws {
        path = folder + "/weights.pth"
        network = try DenseNet(smallNetwork, capacity: 1)
        try ExportedNetwork(network, normalization: nil).writePyTorch(to: path)
        original = try contents(of: path)
    }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        var bytes = original
        if mutator.number > 0 { mutator.damage(&bytes) }
        // The pickle alone, its length as it was, so that the archive stays right.
        if mutator.number > original.count, mutator.below(2) == 0 {
            bytes = original
            for _ in 0...mutator.below(3) { bytes[64 + mutator.below(2000)] = UInt8(mutator.below(256)) }
        }
        write(bytes, to: path)
        try WeightsFile.load(SafetensorsFile(path: path), into: network)
    }
}

/// A folder of CIFAR-10: sizes, labels, missing files, non-files, class names.
struct ImagesTarget: Target {
    let kinds: Set<Failure.Kind> = [.data, .noInput, .usage]
    private let folder: String
    private let names = (1...5).map { "data_batch_\($0).bin" } + ["test_batch.bin", "batches.meta.txt"]
    private let originals: [[UInt8]]

    init(_ folder: String) throws {
        self.folder = folder + "/images"
        try SyntheticImages.write(to: self.folder, train: 5, test: 1, seed: 1)
        let path = self.folder
        originals = try names.map { try contents(of: "\(path)/\($0)") }
    }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        let index = mutator.below(names.count)
        let path = "\(folder)/\(names[index])"
        defer { restore(index, path) }
        if mutator.number > 0 { damage(originals[index], path, &mutator) }
        let (train, test, _) = try CIFAR.open(folder, limitTrain: mutator.below(3) == 0 ? mutator.below(12) : nil)
        if mutator.below(16) == 0 { truncate(path, off_t(mutator.below(3074))) }
        for set in [train, test] {
            try set.validateLabels(part: 0, of: 1)
            if mutator.below(64) == 0 { _ = try PixelSums(of: set) }
        }
    }

    private func damage(_ original: [UInt8], _ path: String, _ mutator: inout Mutator) {
        var bytes = original
        switch mutator.below(8) {
        case 0: bytes[0] = UInt8(mutator.below(256))
        case 1: bytes = Array(bytes.prefix(mutator.below(bytes.count + 1)))
        case 2:
            _ = truncate(path, off_t(original.count) * off_t(1 + mutator.below(20_000)))
            return
        case 3:
            _ = truncate(path, off_t(1) << off_t(mutator.below(41)))
            return
        case 4:
            unlink(path)
            switch mutator.below(4) {
            case 0:
                _ = mkfifo(path, 0o600)
                return
            case 1:
                _ = mkdir(path, 0o700)
                return
            case 2:
                _ = symlink("/dev/zero", path)
                return
            default: return
            }
        default: mutator.damage(&bytes)
        }
        write(bytes, to: path)
    }

    private func restore(_ index: Int, _ path: String) {
        if unlink(path) != 0 { rmdir(path) }
        write(originals[index], to: path)
    }
}

/// RUN/config.json as `train --resume` reads it.
struct ConfigurationTarget: Target {
    let kinds: Set<Failure.Kind> = [.data]
    private let folder: RunFolder
    private let original: [UInt8]

    init(_ folder: String) throws {
        self.folder = try RunFolder(path: folder + "/run", resuming: false)
        var weights = ClassWeights(path: "/weights.csv")
        weights.values = [0.5, 2]
        try self.folder.writeConfiguration(
            RunConfiguration(
                network: smallNetwork, data: .init(path: "/images", limitTrain: 10, limitTest: 5), epochs: 3, steps: 7,
                earlyStop: 2, bestBy: .macroRecall, batchSize: 4,
                schedule: LearningRateSchedule(shape: .step(milestones: [0.5, 0.75], factor: 0.1), warmUpEpochs: 1),
                labelSmoothing: 0.1, classWeights: weights,
                normalization: .explicit(mean: [0.5, 0.5, 0.5], std: [1, 1, 1]),
                precision: .bfloat16,
                initialWeights: "/weights",
                fineTuning: FineTuning(
                    freeze: [.stem], freezeNorm: true, learningRateOf: PartRates([(.classifier, 0.01)])),
                faults: FaultPolicy(keep: 2, checkpointSteps: 5, onCheckpointError: .continue, onNonfinite: .skip)))
        original = try contents(of: self.folder.configuration)
    }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        var bytes = original
        if mutator.number > 0 { mutator.damage(&bytes) }
        write(bytes, to: folder.configuration)
        let configuration = try RunConfiguration(from: folder)
        // An accepted configuration must be usable: it has a rate for every step of the run.
        for step in [0, 1, 1000, Int(Int32.max)] {
            guard configuration.schedule.rate(step: step, stepsPerEpoch: 1000, epochs: configuration.epochs).isFinite
            else {
                throw Failure(.internal, "a learning rate that is not finite at step \(step)")
            }
        }
    }
}

/// RUN/checkpoints with one damaged file, with or without a good one.
struct CheckpointsTarget: Target {
    let kinds: Set<Failure.Kind> = [.data, .noInput]
    private let folder: CheckpointFolder
    private let newest: String
    private let original: [UInt8]
    private let content: Content

    init(_ path: String) throws {
        let network = try DenseNet(smallNetwork, capacity: 1)
        folder = CheckpointFolder(path: path + "/checkpoints")
        mkdir(folder.path, 0o700)
        newest = folder.path + "/checkpoint-00002-00000010.safetensors"
        for epoch in 1...2 {
            try folder.write(
                Checkpoint(
                    position: CheckpointPosition(epoch: epoch, step: 5 * epoch),
                    tensors: WeightsFile.tensors(of: network),
                    metadata: ["config": try WeightsFile.configurationText(smallNetwork), "epoch_in_progress": "2.0"]))
        }
        original = try contents(of: newest)
        content = try Content(SafetensorsFile(path: newest))
    }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        var bytes = original
        if mutator.number > 0 { mutator.damage(&bytes) }
        write(bytes, to: newest)
        guard let found = try folder.newestValid() else { throw Failure(.internal, "no checkpoint found") }
        guard found.checkpoint.position.epoch == (found.warnings.isEmpty ? 2 : 1) else {
            throw Failure(.internal, "the wrong checkpoint")
        }
        // Different spaces or escapes in the header are equivalent.
        guard try !found.warnings.isEmpty || Content(found.checkpoint.file) == content else {
            throw Failure(.internal, "a damaged checkpoint was taken for whole")
        }
    }

    /// The contents of a checkpoint.
    private struct Content: Equatable {
        var metadata: [String: String]
        var tensors: [String: [UInt32]] = [:]

        init(_ file: SafetensorsFile) throws {
            metadata = file.metadata
            for name in file.tensors.keys { tensors[name] = try file.floats(named: name).map(\.bitPattern) }
        }
    }
}

/// RUN/metrics.jsonl as a resumed run truncates it.
struct MetricsTarget: Target {
    let kinds: Set<Failure.Kind> = [.data, .noInput]
    private let log: MetricsLog
    private let original: [UInt8]

    init(_ folder: String) throws {
        log = MetricsLog(path: folder + "/metrics.jsonl")
        for epoch in 1...2 {
            try log.append([
                StepRecord(
                    epoch: epoch, step: epoch * 3, loss: .nan, accuracy: 0.5, learningRate: 0.1, imagesPerSecond: 100,
                    dataWaitSeconds: 0)
            ])
            try log.append(
                EpochMetrics(
                    epoch: epoch, trainLoss: 1.5, trainAccuracy: .nan, testLoss: 2, testAccuracy: 0.5,
                    imagesPerSecond: 100, learningRate: 0.1, dataWaitSeconds: 0, checkpointWaitSeconds: 0,
                    epochSeconds: 1, evaluationSeconds: 1,
                    measures: ClassMeasures(macroRecall: 0.5, macroPrecision: 0.25, topFive: 1, auroc: 0.75)))
        }
        original = try contents(of: log.path)
    }

    func run(_ mutator: Mutator) throws {
        var mutator = mutator
        var bytes = original
        if mutator.number > 0 { mutator.damage(&bytes) }
        write(bytes, to: log.path)
        try log.truncate(keepingEpochsUpTo: mutator.below(4), stepsUpTo: mutator.below(9))
    }
}
