import DenseNetModel
import FoundationEssentials
import Kernels
import Planning
import Reporting
import Support

/// What a plan is made from, and where that comes from.
struct PlanSource {
    struct Links: Codable {
        let isLocalMeasured, isNetworkGiven: Bool
    }

    let network: DenseNetConfiguration
    let threads: Int
    let model: StepModel
    /// Of the compute times.
    let origin: String
    let links: Links
}

/// A plan, as text, drawing or, encoded, JSON.
struct PlanReport: Encodable {
    /// A number of ranks; without a step where there are more ranks than images.
    struct Row: Encodable {
        let ranks, hosts: Int
        let step: StepModel.Prediction?
        let stepSeconds, imagesPerSecond, efficiency: Double?
        /// The smallest batch with which so many ranks pay.
        let payingBatch: Int?
    }

    /// Ranks pay as long as they bring this share of what as many single ones would.
    static let payingEfficiency = 0.7

    let name: String
    let network: DenseNetConfiguration
    let batchSize, threads: Int
    let computeSource: String
    let machine: Machine
    let links: PlanSource.Links
    /// Of a step.
    let sums, gradientBuckets: Int
    let rows: [Row]
    /// The most of the ranks asked for that pay with this batch.
    let payingRanks: Int?
    let payingEfficiency = Self.payingEfficiency

    init(_ source: PlanSource, batchSize: Int, counts: [Int]) throws {
        let model = source.model
        name = try NetworkDescription(source.network, batchSize: batchSize).name
        network = source.network
        (self.batchSize, threads) = (batchSize, source.threads)
        (computeSource, machine, links) = (source.origin, model.machine, source.links)
        sums = model.schedule.sums.count
        gradientBuckets = model.exchange.bucketSizes(gradientCount: model.schedule.gradientCount).count
        rows = counts.map { count in
            let step = count <= batchSize ? model.step(ranks: count, batchSize: batchSize) : nil
            return Row(
                ranks: count, hosts: model.machine.hosts(ranks: count), step: step, stepSeconds: step?.seconds,
                imagesPerSecond: step?.imagesPerSecond, efficiency: step.map(model.efficiency),
                payingBatch: model.payingBatch(ranks: count, efficiency: Self.payingEfficiency))
        }
        payingRanks = rows.prefix { ($0.efficiency ?? 0) >= Self.payingEfficiency }.last?.ranks
    }

    var text: String {
        let (local, network) = (machine.local, machine.network)
        var lines = [
            "\(name), \(self.network.image)×\(self.network.image), batch \(batchSize), \(counted(threads, "thread")) a rank, "
                + "\(counted(machine.ranksPerHost, "rank")) a host at most",
            "compute: \(computeSource)",
            "within a host: a round of a sum \(micro(local.latency)) and \(giga(local.bandwidth)), gradients "
                + "\(giga(machine.localGradients)) (\(links.isLocalMeasured ? "measured here" : "assumed"))",
            "between hosts: \(micro(network.latency)) and \(giga(network.bandwidth)) "
                + "(\(links.isNetworkGiven ? "given" : "assumed; --latency, --bandwidth"))",
            "a step has \(counted(sums, "sum")) of statistics and \(counted(gradientBuckets, "bucket")) of gradients",
            "",
            "                    ms a step                                                          a batch",
            " ranks hosts images    total  compute  waiting     sums gradients  images/s efficiency that pays",
        ]
        lines += rows.map(line)
        lines += ["", verdict]
        return lines.joined(separator: "\n")
    }

    private func line(_ row: Row) -> String {
        let paying = row.payingBatch.map { row.ranks > 1 ? "\($0)" : "-" } ?? "none"
        let batch = String(repeating: " ", count: max(1, 10 - paying.count)) + paying
        let start = Double(row.ranks).formatted(places: 0, width: 6) + Double(row.hosts).formatted(places: 0, width: 6)
        guard let step = row.step, let efficiency = row.efficiency else {
            return start + "      -" + "     more ranks than images".padding(to: 66) + batch
        }
        func milliseconds(_ seconds: Double, _ width: Int = 9) -> String {
            (seconds * 1e3).formatted(places: 2, width: width)
        }
        return start + Double(step.imagesPerRank).formatted(places: 0, width: 7) + milliseconds(step.seconds)
            + milliseconds(step.compute) + milliseconds(step.waiting) + milliseconds(step.statistics)
            + milliseconds(step.gradients, 10) + step.imagesPerSecond.formatted(places: 1, width: 10)
            + efficiency.formatted(places: 2, width: 11) + batch
    }

    private var verdict: String {
        let limit = Self.payingEfficiency
        guard let paying = payingRanks, let last = rows.last(where: { $0.ranks == paying }) else {
            return "with this batch no number of ranks asked for pays (efficiency below \(limit))"
        }
        let efficiency = last.efficiency!.formatted(places: 2)
        let start = "up to \(counted(paying, "rank")) pay: efficiency \(efficiency), at least \(limit)"
        guard let next = rows.first(where: { $0.ranks > paying }) else { return start }
        let batch =
            next.payingBatch.map { "pay from a batch of \($0) on" } ?? "pay with no batch up to 1024 images a rank"
        return start + "; \(next.ranks) \(batch)"
    }

    private func micro(_ seconds: Double) -> String { "\((seconds * 1e6).formatted(places: 1)) us" }
    private func giga(_ rate: Double) -> String { "\((rate * 1e-9).formatted(places: 2)) GB/s" }

    /// An SVG picture.
    var drawing: String {
        ScalingPicture.svg(
            title: "\(name), batch \(batchSize)",
            rows.compactMap { row in
                row.step.map { (ranks: row.ranks, imagesPerSecond: $0.imagesPerSecond, efficiency: row.efficiency!) }
            }, payingEfficiency: Self.payingEfficiency)
    }
}

extension BenchReport {
    /// Reads what `bench --json` has printed.
    ///
    /// - Throws: `Failure(.noInput)` where the file cannot be read, `Failure(.data)` where it is something else.
    init(path: String) throws {
        let bytes = try InputFile.contents(of: path, atMost: 1 << 24)
        do { self = try JSONDecoder().decode(Self.self, from: Data(bytes)) } catch {
            throw Failure(.data, "\(path) is not what bench --json prints; make one with: bench --json > \(path)")
        }
        guard ranks > 0, batchSize >= ranks, threads > 0 else {
            throw Failure(.data, "\(path): \(batchSize) images on \(ranks) ranks of \(threads) threads")
        }
        guard phases.contains(where: { $0.backwardSeconds > 0 }) else {
            throw Failure(.data, "\(path) is of an evaluation; make one of training steps: bench --json > \(path)")
        }
        try network.validate()
    }

    /// A rank's own work in a step, and how long it waited: what its sums took beyond their messages.
    func wholeStep(_ schedule: StepSchedule, _ local: Link) -> ComputeProfile.WholeStep {
        func seconds(_ phase: Kernels.Phase) -> (forward: Double, backward: Double) {
            phases.first { $0.name == phase.name }.map { ($0.forwardSeconds, $0.backwardSeconds) } ?? (0, 0)
        }
        let apart: [Kernels.Phase] = [.statisticsSync, .gradientWait, .dataWait, .optimizer]
        let own = phases.filter { phase in !apart.contains { $0.name == phase.name } }
        let sync = seconds(.statisticsSync)
        let messages = schedule.sums.reduce(0) {
            $0 + Double(Machine.rounds(ranks)) * local.seconds(bytes: 8 * Double($1))
        }
        return ComputeProfile.WholeStep(
            images: (batchSize - 1) / ranks + 1, ranks: ranks, forward: own.reduce(0) { $0 + $1.forwardSeconds },
            backward: own.reduce(0) { $0 + $1.backwardSeconds }, optimizer: seconds(.optimizer).forward,
            waiting: sync.forward + sync.backward - messages)
    }
}
