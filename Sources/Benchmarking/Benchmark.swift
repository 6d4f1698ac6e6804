import DataParallel
import DenseNetModel
import ImageData
import Kernels
import Support
import Training

/// Times complete training steps on all ranks: data loading with augmentation, forward, backward, all-reduce,
/// optimizer.
package final class Benchmark {
    package struct Configuration: Sendable {
        package var network: DenseNetConfiguration
        package var batchSize: Int
        /// Whose statistics batch norm takes in training.
        package var statistics: BatchStatistics
        package var steps: Int
        /// Whether to time evaluation (forward with the running statistics) instead of training.
        package var evaluates: Bool
        package var threads: Int?
        package var precision: Precision

        package init(
            network: DenseNetConfiguration, batchSize: Int, statistics: BatchStatistics = .globalBatch, steps: Int,
            evaluates: Bool, threads: Int?, precision: Precision
        ) {
            self.network = network
            self.batchSize = batchSize
            self.statistics = statistics
            self.steps = steps
            self.evaluates = evaluates
            self.threads = threads
            self.precision = precision
        }
    }

    /// The measurements.
    package struct Result: Sendable {
        /// Seconds of each timed step.
        package let steps: [Double]
        /// Seconds per step in each phase, on rank zero's calling thread.
        package let phases: [(phase: Phase, forward: Double, backward: Double)]
        /// The maximum resident memory of any rank, in bytes.
        package let peakMemory: Int
        /// OpenBLAS's sgemm rate, summed over all ranks and threads, in GFLOP/s.
        package let sgemmPeak: Double
        /// Seconds that the products of one step take alone, on rank zero.
        package let productSeconds: Double
        package let threads: Int

        package var median: Double { steps.median }
    }

    let configuration: Configuration
    private let communicator: Communicator
    private let work: Work
    private let loader: BatchLoader
    private let threads: Int
    var network: DenseNet {
        switch work {
        case .training(let step): step.network
        case .evaluation(let network): network
        }
    }

    private enum Work {
        case training(TrainingStep)
        case evaluation(DenseNet)
    }

    /// Collective.
    package init(_ configuration: Configuration, communicator: Communicator) throws {
        self.configuration = configuration
        self.communicator = communicator
        let threads = configuration.threads ?? communicator.defaultThreads
        self.threads = threads
        let count = max(2 * configuration.batchSize, 64)
        let image = configuration.network.image
        let network: DenseNet
        (network, loader) = try communicator.throwOnAllRanks {
            guard configuration.batchSize >= communicator.size else {
                throw Failure(
                    .usage,
                    "`batchSize` \(configuration.batchSize) is smaller than the number of ranks, \(communicator.size)")
            }
            try configuration.statistics.validate(batchSize: configuration.batchSize, worldSize: communicator.size)
            let network = try Self.network(configuration, threads: threads, communicator)
            try ImageSet.requireMemory(
                synthetic: count, imageSize: image, ranks: communicator.localSize, advice: "use a smaller `batchSize`")
            let images = ImageSet.synthetic(count: count, seed: 1, split: .train, imageSize: image)
                .framed(configuration.network.framing(ofPictures: false))
            let sampler = try Sampler(
                sampleCount: images.count, globalBatch: configuration.batchSize, worldSize: communicator.size, seed: 1,
                shuffle: true, unit: configuration.statistics.unit)
            return (
                network,
                try BatchLoader(
                    images: images, sampler: sampler, rank: communicator.rank,
                    augmentation: Augmentation(crop: true, flip: true),
                    normalization: try .channel(from: PixelSums(of: images)), seed: 1)
            )
        }
        if let network = network as? TrainableDenseNet {
            let groups = configuration.statistics.groups(
                of: network, images: configuration.imagesPerRank(communicator))
            work = .training(try TrainingStep(network, groups: groups, seed: 1, communicator: communicator))
        } else {
            work = .evaluation(network)
        }
    }

    /// The network that is timed, one for training or not.
    private static func network(
        _ configuration: Configuration, threads: Int, _ communicator: Communicator
    ) throws -> DenseNet {
        let capacity = configuration.passSize(communicator)
        let passes = configuration.passes(communicator)
        let overhead = MemoryOverhead(
            ranks: communicator.localSize, batches: 2 * passes, copies: passes > 1 ? 1 : 0, threads: 1)
        let network =
            configuration.evaluates
            ? try DenseNet(
                configuration.network, capacity: capacity, threads: threads, precision: configuration.precision,
                overhead: overhead)
            : try TrainableDenseNet(
                configuration.network, capacity: capacity, threads: threads, precision: configuration.precision,
                overhead: overhead)
        network.initialize(seed: 1)
        return network
    }

    /// Warms up, times the steps, then runs as many again to time their phases. Collective.
    ///
    /// - Parameter recordingTrace: whether to record spans during the last part.
    package func run(recordingTrace: Bool) throws -> Result {
        let peak = try communicator.allReduceSum(ConvolutionProducts.sgemmPeak()) * Double(threads)
        let times = try timeSteps()
        network.clock.start(recordingTrace: recordingTrace)
        for _ in 0..<configuration.steps { try runStep() }
        network.clock.stop()
        let steps = Double(configuration.steps)
        let phases = Phase.allCases.map { phase in
            (
                phase, network.clock.seconds(phase, backward: false) / steps,
                network.clock.seconds(phase, backward: true) / steps
            )
        }
        let memory = try communicator.allReduceMax(Int64(peakResidentBytes()))
        let products = ConvolutionProducts(
            configuration.network, images: configuration.passSize(communicator), precision: configuration.precision)
        let alone =
            products.measure().filter { !configuration.evaluates || $0.product.kind == .forward }.map(\.total)
            .reduce(0, +) * Double(configuration.passes(communicator))
        return Result(
            steps: times, phases: phases, peakMemory: Int(memory), sgemmPeak: peak,
            productSeconds: alone / Double(threads), threads: threads)
    }

    /// Warms up and times the steps, in seconds, each from when all ranks begin to when all are done. Collective.
    package func timeSteps() throws -> [Double] {
        for _ in 0..<3 { try runStep() }
        return try (0..<configuration.steps).map { _ in
            try communicator.barrier()
            let began = monotonicSeconds()
            try runStep()
            try communicator.barrier()
            return monotonicSeconds() - began
        }
    }

    /// Why the ranks of a host exchange gradients by messages; nil if they do not, or do not train.
    package var refusal: HostBuffers.Refusal? {
        if case .training(let step) = work { step.refusal } else { nil }
    }

    /// The spans that this rank has recorded.
    package var spans: [PhaseClock.Span] { network.clock.spans ?? [] }

    func runStep() throws {
        let clock = network.clock
        clock.enter(.dataWait, backward: false)
        let batch = try loader.next()
        clock.enter(.other)
        switch work {
        case .training(let step): _ = try step(batch, rate: 1e-3)
        case .evaluation(let network): _ = try network.evaluate(batch.images, count: batch.count)
        }
    }
}

extension Benchmark.Configuration {
    /// Images of the rank that has most.
    fileprivate func imagesPerRank(_ communicator: Communicator) -> Int {
        communicator.maximumLocalBatchSize(of: batchSize, unit: statistics.unit)
    }

    /// Images of a forward pass of that rank.
    fileprivate func passSize(_ communicator: Communicator) -> Int {
        statistics.passSize(images: imagesPerRank(communicator))
    }

    /// That rank's forward passes of a step.
    fileprivate func passes(_ communicator: Communicator) -> Int {
        (imagesPerRank(communicator) - 1) / passSize(communicator) + 1
    }
}

extension Benchmark.Result {
    /// The report: images per second, and where the time of a step goes.
    package func report(_ run: Benchmark.Configuration, ranks: Int) -> String {
        let (network, batchSize) = (run.network, run.batchSize)
        let description = try? NetworkDescription(network, batchSize: batchSize)
        let scope = run.statistics == .globalBatch ? "" : " (batch statistics: \(run.statistics))"
        let work = PhaseCosts(network, run.precision)
        let sorted = steps.sorted()
        let rate = Double(batchSize) / median
        let operations = work.operations(evaluates: run.evaluates) * rate * 1e-9
        func rates(_ seconds: Double) -> String { (Double(batchSize) / seconds).formatted(places: 1) }
        var lines = [
            "\(rates(median)) images/s  (\(steps.count) steps: \(rates(sorted[sorted.count - 1])) to \(rates(sorted[0])); "
                + "\(operations.formatted(places: 0)) GFLOP/s, \((100 * operations / sgemmPeak).formatted(places: 0)) % of sgemm's "
                + "\(sgemmPeak.formatted(places: 0))\(OpenBLAS.reservation))",
            "\(description?.name ?? "network"), \(network.image)×\(network.image), batch \(batchSize)\(scope), \(ranks) ranks × \(threads) threads, "
                + "vector level \(VectorLevel.current), peak \((Double(peakMemory) / 0x1p20).formatted(places: 0)) MiB per rank",
            "a step takes \((median / productSeconds).formatted(places: 2)) times its matrix products alone",
            "",
            "phase               forward: ms  GFLOP/s     GB/s   backward: ms  GFLOP/s     GB/s  share",
        ]
        let total = phases.reduce(0) { $0 + $1.forward + $1.backward }
        for (phase, forward, backward) in phases where forward + backward > 0 {
            func cell(_ value: Double, _ seconds: Double) -> String {
                value > 0 && seconds > 0 ? (value / seconds * 1e-9).formatted(places: 1, width: 9) : "        -"
            }
            let images = Double(batchSize) / Double(ranks)
            lines.append(
                phase.name + String(repeating: " ", count: 20 - phase.name.count)
                    + (forward * 1e3).formatted(places: 2, width: 11)
                    + cell(work.forwardOperations(phase) * images, forward)
                    + cell(work.forwardBytes(phase) * images, forward)
                    + (backward * 1e3).formatted(places: 2, width: 15)
                    + cell(work.backwardOperations(phase) * images, backward)
                    + cell(work.backwardBytes(phase) * images, backward)
                    + (100 * (forward + backward) / total).formatted(places: 1, width: 7))
        }
        return lines.joined(separator: "\n")
    }

    /// A trace for Chrome or Perfetto with one track per rank, in microseconds.
    ///
    /// - Parameter ranks: each rank's spans.
    package static func trace(_ ranks: [[PhaseClock.Span]]) -> String {
        let start = ranks.joined().map(\.from).min() ?? 0
        let events = ranks.enumerated().flatMap { rank, spans in
            spans.map { span in
                "{\"name\":\"\(span.name)\",\"ph\":\"X\",\"pid\":0,\"tid\":\(rank),"
                    + "\"ts\":\(((span.from - start) * 1e6).formatted(places: 1)),\"dur\":\(((span.to - span.from) * 1e6).formatted(places: 1))}"
            }
        }
        let names = ranks.indices.map {
            "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":0,\"tid\":\($0),\"args\":{\"name\":\"rank \($0)\"}}"
        }
        return "{\"traceEvents\":[\n" + (names + events).joined(separator: ",\n") + "\n]}\n"
    }
}

extension [Double] {
    /// The middle one of at least one, or the upper of two.
    package var median: Double { sorted()[count / 2] }
}
