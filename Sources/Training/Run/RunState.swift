import DataParallel
import DenseNetModel
import Glibc
import Safetensors
import Support

/// Where a run stands, beside its weights and momenta: the same on all ranks, and all that a checkpoint's metadata has
/// of it.
struct RunState: Equatable {
    /// The epoch in progress, counted from 1.
    var epoch = 1
    /// Steps of it that are done.
    var stepInEpoch = 0
    /// Sums over the images of these steps, of all ranks.
    var lossSum = 0.0
    var correct = 0.0
    var images = 0.0
    /// Seconds spent in these steps.
    var seconds = 0.0

    func step(_ stepsPerEpoch: Int) -> Int { (epoch - 1) * stepsPerEpoch + stepInEpoch }

    /// Whether the epoch in progress has all the steps that it will have; what it lacks is its evaluation.
    ///
    /// - Parameter steps: of the whole run, where they are limited.
    func isTrained(stepsPerEpoch: Int, steps: Int?) -> Bool {
        stepInEpoch == stepsPerEpoch || stepInEpoch > 0 && step(stepsPerEpoch) >= steps ?? .max
    }

    mutating func beginEpoch() { self = RunState(epoch: epoch + 1) }

    private static let keys = ["epoch_in_progress", "step_in_epoch", "loss_sum", "correct", "images", "seconds"]

    /// Whether a file's metadata are those of a checkpoint.
    static func isOfCheckpoint(_ metadata: [String: String]) -> Bool { metadata[keys[0]] != nil }

    /// As text that gives back the very same numbers.
    var metadata: [String: String] {
        Dictionary(uniqueKeysWithValues: zip(Self.keys, numbers.map { String($0) }))
    }

    init() {}

    private init(epoch: Int) { self.epoch = epoch }

    init(_ metadata: [String: String], path: String) throws {
        let numbers = try Self.keys.map { key in
            guard let text = metadata[key], let number = Double(text), number.isFinite, number >= 0 else {
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

    /// All of it as numbers, for a broadcast.
    var numbers: [Double] { [Double(epoch), Double(stepInEpoch), lossSum, correct, images, seconds] }

    init(_ numbers: [Double]) {
        epoch = Int(numbers[0])
        stepInEpoch = Int(numbers[1])
        (lossSum, correct, images, seconds) = (numbers[2], numbers[3], numbers[4], numbers[5])
    }
}

/// Checkpoints of a run: what goes into them and how it comes back.
extension TrainingStep {
    static let momentumPrefix = "momentum."

    /// Momenta as a checkpoint has them; they borrow the buffer.
    static func momentumTensors(_ table: ParameterTable, _ momenta: AlignedBuffer<Float>) -> [NamedTensor] {
        table.trainable.map { parameter in
            NamedTensor(
                name: momentumPrefix + parameter.name, shape: parameter.shape,
                values: UnsafeBufferPointer(momenta[parameter.range]))
        }
    }

    /// Reads what a `CheckpointWriter` has written: weights, running statistics, momenta and the run's state.
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
                named: Self.momentumPrefix + parameter.name, shape: parameter.shape,
                into: optimizer.momenta[parameter.range])
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

    /// Rank zero's weights, running statistics and momenta become everybody's. Collective.
    func broadcast(from root: Int, _ communicator: Communicator) throws {
        try communicator.broadcast(network.parameters, from: root)
        try communicator.broadcast(network.statistics, from: root)
        try communicator.broadcast(optimizer.momenta.elements, from: root)
    }

    /// A number that differs where any weight, running statistic or momentum differs in a bit (CRC-32).
    var hash: UInt64 {
        var sum = CRC32()
        for buffer in [network.parameters, network.statistics, optimizer.momenta.elements] {
            sum.add(UnsafeRawBufferPointer(buffer))
        }
        return UInt64(sum.value)
    }
}
