import DataParallel
import DenseNetModel
import FoundationEssentials
import Glibc
import ImageData
import Safetensors
import Support
import Training

/// Compares this build, on this machine and with this number of ranks, with results that PyTorch computed in float64.
///
/// They are in a safetensors file with a metadata key `config` (JSON) and tensors `input` [N, 3, H, W], `labels` [N]
/// (I64), `initial.NAME`, `logits`, `grad.NAME` of step 1 (mean cross-entropy), `after1.NAME` and `after{steps}.NAME`
/// (state after SGD steps on the same batch), `losses` [steps], `eval_logits` after the last step. NAME is
/// torchvision's.
package struct GoldenVerification {
    /// A quantity and its relative error ‖ours − reference‖ / ‖reference‖.
    package struct Deviation: Sendable {
        package let name: String
        package let relative: Double
    }

    private struct Configuration: Decodable {
        var blocks: [Int]
        /// One of both.
        var growthRate: Int?
        var growthRates: [Int]?
        var stemChannels: Int
        var stem: DenseNetConfiguration.Stem
        var stemStride: Int?
        var imageChannels: Int?
        var bottleneck: Bool
        var compression: Double
        var classes: Int
        var image: Int
        var batch: Int
        var lr: Double
        var momentum: Double
        var nesterov: Bool
        var weightDecay: Double
        var steps: Int
        /// Images that are normalized together; all of the batch where there is none.
        var statisticsGroup: Int?

        var statistics: BatchStatistics { statisticsGroup.map { .group(images: $0) } ?? .globalBatch }

        /// The most images of the batch that a rank has.
        func localImages(_ communicator: Communicator) -> Int {
            communicator.maximumLocalBatchSize(of: batch, unit: statistics.unit)
        }

        /// The file's keys are Python's, such as growth_rate.
        static var decoder: JSONDecoder {
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return decoder
        }
    }

    private let file: SafetensorsFile
    private let golden: Configuration
    private let communicator: Communicator
    private let step: TrainingStep
    private let input: AlignedBuffer<Float>
    private let labels: AlignedBuffer<Int32>
    private let part: Range<Int>
    private var network: TrainableDenseNet { step.network }

    /// Reads the file on every rank. Collective.
    ///
    /// - Throws: `Failure(.noInput)` if the file cannot be read, `Failure(.data)` if it is invalid.
    package init(path: String, threads: Int, communicator: Communicator) throws {
        self.communicator = communicator
        let network: TrainableDenseNet
        (file, golden, network, input, labels) = try communicator.throwOnAllRanks {
            let file = try SafetensorsFile(path: path)
            guard let text = file.metadata["config"] else {
                throw Failure(.data, "\(path): has no metadata key 'config'; it is not a golden file")
            }
            let golden: Configuration
            do { golden = try Configuration.decoder.decode(Configuration.self, from: Data(text.utf8)) } catch {
                throw Failure(
                    .data,
                    "\(path): is not a golden file: the metadata key 'config' lacks a value or has a wrong one: \(text)"
                )
            }
            guard golden.batch >= 1, golden.batch <= 65_536, (1...1000).contains(golden.steps) else {
                throw Failure(
                    .data, "\(path): batch \(golden.batch) and \(golden.steps) steps, expected 1 or more of each")
            }
            if let images = golden.statisticsGroup, images < 1 {
                throw Failure(.data, "\(path): groups of \(images) images, expected 1 or more")
            }
            let configuration = DenseNetConfiguration(
                stem: golden.stem, stemStride: golden.stemStride, blocks: golden.blocks,
                growthRates: golden.growthRates ?? [golden.growthRate ?? 0],
                stemChannels: golden.stemChannels, bottleneck: golden.bottleneck, compression: golden.compression,
                classes: golden.classes, image: golden.image, imageChannels: golden.imageChannels ?? 3)
            let network = try TrainableDenseNet(
                configuration, capacity: golden.statistics.passSize(images: golden.localImages(communicator)),
                threads: threads, overhead: MemoryOverhead(ranks: communicator.localSize))
            let input = AlignedBuffer<Float>(count: golden.batch * configuration.imageCount)
            try file.floats(
                named: "input", shape: [golden.batch, configuration.imageChannels, golden.image, golden.image],
                into: input.elements)
            let labels = AlignedBuffer<Int32>(count: golden.batch)
            for (index, label) in try file.integers(named: "labels", shape: [golden.batch]).enumerated() {
                guard label >= 0, label < golden.classes else {
                    throw Failure(
                        .data, "\(path): label \(label) of image \(index), expected 0 to \(golden.classes - 1)")
                }
                labels.pointer[index] = Int32(label)
            }
            try WeightsFile.read(from: file, prefix: "initial.", into: network)
            return (file, golden, network, input, labels)
        }
        step = try TrainingStep(
            network, groups: golden.statistics.groups(of: network, images: golden.localImages(communicator)),
            optimizer: OptimizerConfiguration(
                momentum: golden.momentum, nesterov: golden.nesterov, weightDecay: golden.weightDecay),
            seed: 0, communicator: communicator)
        let sampler = try Sampler(
            sampleCount: golden.batch, globalBatch: golden.batch, worldSize: communicator.size, seed: 0, shuffle: false,
            unit: golden.statistics.unit)
        part = sampler.localRange(step: 0, rank: communicator.rank)
    }

    private var batch: Batch {
        Batch(
            images: UnsafePointer(input.pointer + part.lowerBound * network.imageCount),
            imageCount: network.imageCount,
            labels: UnsafePointer(labels.pointer + part.lowerBound), sampleIndices: UnsafePointer(labels.pointer),
            count: part.count, globalCount: golden.batch, epoch: 1, step: 0)
    }

    /// Runs all steps and compares the results. Collective; returns the same on all ranks.
    package func run() throws -> [Deviation] {
        var deviations: [Deviation] = []
        var losses: [Double] = []
        for number in 1...golden.steps {
            let result = try step.gradients(of: batch)
            losses.append(try communicator.allReduceSum(result.lossSum) / Double(golden.batch))
            if number == 1 {
                // The network has those of the last group only.
                if golden.statisticsGroup == nil {
                    let logits = try allLogits(Array(network.logits[..<(part.count * golden.classes)]))
                    deviations.append(try Deviation(name: "logits", relative: relativeError([(logits, "logits")])))
                }
                let scale = 1 / Float(golden.batch)
                deviations.append(
                    try Deviation(
                        name: "gradient",
                        relative: relativeError(
                            network.table.trainable.map { parameter in
                                (network.gradients[parameter.range].map { $0 * scale }, "grad.\(parameter.name)")
                            })))
            }
            try step.moveWeights(rate: golden.lr, weight: Double(golden.batch))
            if number == 1 { deviations.append(try stateError("after1")) }
        }
        deviations.append(try stateError("after\(golden.steps)"))
        deviations.append(try Deviation(name: "losses", relative: relativeError([(losses.map(Float.init), "losses")])))
        let logits = try allLogits(evaluated())
        deviations.append(try Deviation(name: "eval logits", relative: relativeError([(logits, "eval_logits")])))
        return deviations
    }

    private func stateError(_ prefix: String) throws -> Deviation {
        let state =
            network.table.trainable.map { (Array(network.parameters[$0.range]), "\(prefix).\($0.name)") }
            + network.table.runningStatistics.map {
                (Array(network.runningStatistics[$0.range]), "\(prefix).\($0.name)")
            }
        return try Deviation(
            name: "state after \(prefix.dropFirst(5)) step\(prefix == "after1" ? "" : "s")",
            relative: relativeError(state))
    }

    /// The logits of this rank's images in evaluation.
    private func evaluated() throws -> [Float] {
        var logits: [Float] = []
        for first in stride(from: 0, to: part.count, by: max(network.capacity, 1)) {
            let count = min(network.capacity, part.count - first)
            _ = try network.evaluate(batch.images + first * batch.imageCount, count: count)
            logits += network.logits[..<(count * golden.classes)]
        }
        return logits
    }

    /// The logits of all ranks' images. Collective.
    private func allLogits(_ own: [Float]) throws -> [Float] {
        var all = [Float](repeating: 0, count: golden.batch * golden.classes)
        let first = part.lowerBound * golden.classes
        all.replaceSubrange(first..<first + own.count, with: own)
        return try communicator.allReduceSum(all)
    }

    /// The relative error of several tensors taken as one vector, in float64. Collective.
    private func relativeError(_ tensors: [([Float], String)]) throws -> Double {
        try communicator.throwOnAllRanks {
            var difference = 0.0
            var size = 0.0
            for (ours, name) in tensors {
                let reference = try file.floats(named: name)
                guard reference.count == ours.count else {
                    throw Failure(
                        .data, "\(file.path): tensor \(name) has \(reference.count) elements, expected \(ours.count)")
                }
                for (a, b) in zip(ours, reference) {
                    difference += (Double(a) - Double(b)) * (Double(a) - Double(b))
                    size += Double(b) * Double(b)
                }
            }
            return sqrt(difference / max(size, .leastNormalMagnitude))
        }
    }
}
