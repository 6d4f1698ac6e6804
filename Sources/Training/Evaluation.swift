import DataParallel
import DenseNetModel
import FoundationEssentials
import Glibc
import ImageData
import Support

/// Loss and accuracy of a network on a set of images; the same on all ranks.
public struct Evaluation: Sendable {
    /// Mean cross-entropy.
    public let loss: Double
    /// The cells of the confusion matrix that have images, by class and guess. An image whose output is not a number
    /// counts in `total` alone.
    public let confusion: [Cell]
    /// Images of each class.
    public let total: [Int]
    /// Images that were not recognized, the most confident mistakes first; as many as were asked for.
    public let mistakes: [Mistake]
    /// The share of all images whose class has one of the five largest outputs; nil for five classes or fewer.
    public let topFive: Double?
    /// The area under each class's ROC curve, by its softmax output for the images of the class against all others; nil for
    /// a class that has no image or all of them. Empty where there are too many images and classes, see `Evaluator`.
    public let auroc: [Double?]

    /// Images of one class that the network takes for one class, the same or another.
    public struct Cell: Codable, Sendable, Equatable {
        /// Their class.
        public let truth: Int
        /// The class that the network takes them for.
        public let guess: Int
        /// How many there are, 1 or more.
        public let images: Int

        package init(truth: Int, guess: Int, images: Int) {
            (self.truth, self.guess, self.images) = (truth, guess, images)
        }
    }

    /// An image that the network takes for one of another class.
    public struct Mistake: Codable, Sendable, Equatable {
        /// Its place in the set, counted from 0.
        public let index: Int
        /// Its class.
        public let truth: Int
        /// The class that the network takes it for.
        public let guess: Int
        /// What the network gives `guess`, to four decimals: further ones depend on how ranks share a batch, and with
        /// them the order of mistakes would.
        public let probability: Double
    }

    package init(
        loss: Double, confusion: [Cell], total: [Int], mistakes: [Mistake], topFive: Double? = nil,
        auroc: [Double?] = []
    ) {
        self.loss = loss
        self.confusion = confusion
        self.total = total
        self.mistakes = mistakes
        self.topFive = topFive
        self.auroc = auroc
    }

    /// Images of each class that were recognized.
    public var correct: [Int] {
        confusion.reduce(into: [Int](repeating: 0, count: total.count)) { correct, cell in
            if cell.truth == cell.guess { correct[cell.truth] = cell.images }
        }
    }
    /// The share of all images that were recognized.
    public var accuracy: Double { Double(correct.reduce(0, +)) / Double(total.reduce(0, +)) }
}

/// Evaluates a network on every image of a set once, each rank on its part of each batch.
///
/// The areas under ROC curves are exact, and need the outputs of all images at once: of 16,777,216 outputs (images ×
/// classes) or fewer they are computed, of more they are left out.
public final class Evaluator {
    /// What of each image the network sees; the names are those of options and config.json.
    public enum Views: String, Codable, CaseIterable, Sendable {
        /// The image as it is.
        case image = "none"
        /// The image and, mirrored left to right, its mirror image; the result is that of the mean of both logits.
        case imageAndMirrorImage = "flip"
    }

    /// May be another between two evaluations, of the same shape and capacity.
    var network: DenseNet
    private let sampler: Sampler
    private let loader: BatchLoader
    private let communicator: Communicator
    private let mistakeLimit: Int
    /// Allocated for the first evaluation that needs it.
    private lazy var mirrorImages = MirrorImages(of: network)
    /// For the evaluation in progress.
    private var mirror: MirrorImages?
    /// What is summed over ranks: images of each class that were recognized, images of each class, those with their class
    /// among the first five, the loss.
    private var tally: [Double]
    /// This rank's; nil where all ranks together would have too many.
    private var scores: ClassScores?
    /// Why evaluations have no areas under ROC curves; nil where they have.
    package let scoresRefusal: String?
    /// This rank's images that were not recognized: how many of a class and a guess, by class · classes + guess. There
    /// may be too many classes for a matrix.
    private var confusions: [Int: Int] = [:]
    /// This rank's.
    private var mistakes: [Evaluation.Mistake] = []
    private let skipsBadPictures: Bool
    /// Why pictures were left out of the last evaluation, where bad ones are skipped; the same on all ranks.
    public private(set) var leftOut: [String] = []

    /// What the user should know of a `scoresRefusal`.
    package static func note(on refusal: String) -> String { "\(refusal): the AUROC is left out" }

    /// Batches of an evaluation.
    public var steps: Int { sampler.stepsPerEpoch }

    /// - Parameters:
    ///   - network: one of the images' size, with the same weights on all ranks.
    ///   - images: the same set on all ranks.
    ///   - batchSize: images per batch over all ranks; this rank's part has to fit the network's `capacity`.
    ///   - normalization: as the network was trained with.
    ///   - mistakeLimit: how many mistakes a result has at most.
    ///   - loaderThreads: of this rank, which read images ahead.
    ///   - communicator: the ranks that share each batch.
    /// - Throws: `Failure(.unavailable)` when the loader cannot start.
    public init(
        _ network: DenseNet, images: ImageSet, batchSize: Int, normalization: Normalization, mistakeLimit: Int = 0,
        loaderThreads: Int = 1, communicator: Communicator
    ) throws {
        self.network = network
        self.mistakeLimit = mistakeLimit
        skipsBadPictures = images.skipsBadPictures
        self.communicator = communicator
        sampler = try Sampler(
            sampleCount: images.count, globalBatch: batchSize, worldSize: communicator.size, seed: 0, shuffle: false)
        loader = try BatchLoader(
            images: images, sampler: sampler, rank: communicator.rank, augmentation: .none,
            normalization: normalization, seed: 0, threads: loaderThreads)
        let classes = network.configuration.classes
        tally = [Double](repeating: 0, count: 2 * classes + 2)
        scoresRefusal = ClassScores.refusal(images: images.count, classes: classes)
        scores = scoresRefusal == nil ? ClassScores(classes: classes) : nil
    }

    /// Goes through all images. Collective.
    ///
    /// - Parameters:
    ///   - views: what of each image the network sees, the same on all ranks.
    ///   - wantsStop: whether this rank wants the evaluation to end early; asked before each batch.
    ///   - advanced: called after each batch with this rank's batches done, and mean loss and accuracy so far.
    /// - Returns: nil on all ranks once any rank has asked to stop.
    public func run(
        views: Views = .image,
        stopping wantsStop: () -> Bool = { false },
        advanced: (_ done: Int, _ loss: Double, _ accuracy: Double) -> Void = { _, _, _ in }
    ) throws -> Evaluation? {
        let classes = network.configuration.classes
        mirror = views == .imageAndMirrorImage ? mirrorImages : nil
        for index in tally.indices { tally[index] = 0 }
        (confusions, mistakes, leftOut) = ([:], [], [])
        scores?.removeAll()
        var (hits, done) = (0, 0)
        for step in 0..<steps {
            communicator.progress.enter("evaluation batch", step + 1, of: steps)
            // Evaluating needs no sums; a meeting before each batch bounds how far ranks drift apart.
            guard try communicator.allReduceMax(wantsStop() ? Int32(1) : 0) == 0 else { return nil }
            let batch = try loader.next()
            leftOut += loader.lost.map(\.message)
            hits += try add(batch)
            done += batch.count
            let images = Double(max(done, 1))
            advanced(step + 1, tally[tally.count - 1] / images, Double(hits) / images)
        }
        communicator.progress.enter("evaluation's sums")
        if skipsBadPictures { leftOut = try gather(leftOut) }
        tally = try communicator.allReduceSum(tally)
        let (correct, total) = (tally.prefix(classes), tally[classes...].prefix(classes).map { Int($0) })
        let recognized = correct.enumerated().filter { $0.element > 0 }.map {
            Evaluation.Cell(truth: $0.offset, guess: $0.offset, images: Int($0.element))
        }
        let confusion = (recognized + (try gatherConfusions())).sorted { ($0.truth, $0.guess) < ($1.truth, $1.guess) }
        let images = Double(total.reduce(0, +))
        return Evaluation(
            loss: tally[tally.count - 1] / images, confusion: confusion, total: total,
            mistakes: mistakeLimit > 0 ? worst(try gather(worst(mistakes))) : [],
            topFive: classes > Self.topCount ? tally[2 * classes] / images : nil,
            auroc: try scores?.areas(communicator) ?? [])
    }

    /// - Returns: the number of images that were recognized.
    private func add(_ batch: Batch) throws -> Int {
        let classes = network.configuration.classes
        precondition(
            batch.imageCount == network.imageCount,
            "images of \(batch.imageCount) numbers for a network of \(network.imageCount)")
        try mirror?.evaluate(batch)
        let predictions = try network.evaluate(batch.images, count: batch.count)
        if let mirror { predictions.average(with: mirror.logits.pointer) }
        tally[tally.count - 1] += predictions.loss(batch.labels).lossSum
        var hits = 0
        for image in 0..<batch.count {
            let label = Int(batch.labels[image])
            tally[classes + label] += 1
            let row = network.logits[image * classes..<(image + 1) * classes]
            scores?.add(row, label: batch.labels[image])
            if isAmongFirst(label, of: row) { tally[2 * classes] += 1 }
            guard let guess = predictions[image] else { continue }
            guard guess != label else {
                tally[label] += 1
                hits += 1
                continue
            }
            confusions[label * classes + guess, default: 0] += 1
            guard mistakeLimit > 0 else { continue }
            mistakes.append(
                Evaluation.Mistake(
                    index: Int(batch.sampleIndices[image]), truth: label, guess: guess,
                    probability: probability(of: guess, image)))
        }
        // Sorting now and then keeps the memory that a limit promises.
        if mistakes.count >= 2 * max(mistakeLimit, 1024) { mistakes = worst(mistakes) }
        return hits
    }

    /// Outputs of which one has to be the image's class in `Evaluation.topFive`.
    private static let topCount = 5

    /// Whether fewer than five logits go before a class's: larger ones, and equal ones of classes before it.
    private func isAmongFirst(_ label: Int, of row: Slice<UnsafeBufferPointer<Float>>) -> Bool {
        let place = row.startIndex + label
        guard !row.contains(where: \.isNaN) else { return false }
        return row.indices.count { row[$0] > row[place] || row[$0] == row[place] && $0 < place } < Self.topCount
    }

    /// The softmax of an image's logits, for the class with the largest; to four decimals.
    private func probability(of guess: Int, _ image: Int) -> Double {
        let row = network.logits[image * network.configuration.classes..<(image + 1) * network.configuration.classes]
        let largest = Double(row[row.startIndex + guess])
        let sum = row.reduce(0) { $0 + exp(Double($1) - largest) }
        return largest.isFinite ? (1e4 / sum).rounded() / 1e4 : 1
    }

    private func worst(_ mistakes: [Evaluation.Mistake]) -> [Evaluation.Mistake] {
        Array(mistakes.sorted { (-$0.probability, $0.index) < (-$1.probability, $1.index) }.prefix(mistakeLimit))
    }

    /// The cells of all ranks where guess and class differ. Collective.
    private func gatherConfusions() throws -> [Evaluation.Cell] {
        let classes = network.configuration.classes
        let own = confusions.map { Evaluation.Cell(truth: $0 / classes, guess: $0 % classes, images: $1) }
        var sums: [Int: Int] = [:]
        for cell in try gather(own) { sums[cell.truth * classes + cell.guess, default: 0] += cell.images }
        return sums.map { Evaluation.Cell(truth: $0 / classes, guess: $0 % classes, images: $1) }
    }

    /// The elements of all ranks. Collective.
    private func gather<Element: Codable>(_ own: [Element]) throws -> [Element] {
        let bytes = try communicator.throwOnAllRanks { Array(try JSONEncoder().encode(own)) }
        let all = try communicator.allGather(bytes: bytes)
        return try communicator.throwOnAllRanks {
            try all.flatMap { try JSONDecoder().decode([Element].self, from: Data($0)) }
        }
    }
}

/// The network's output for mirrored images.
private final class MirrorImages {
    /// Of the last batch, shape [count][classes].
    let logits: AlignedBuffer<Float>
    private let network: DenseNet
    private let images: AlignedBuffer<Float>

    init(of network: DenseNet) {
        self.network = network
        logits = AlignedBuffer(count: network.logits.count)
        images = AlignedBuffer(count: network.capacity * network.imageCount)
    }

    func evaluate(_ batch: Batch) throws {
        images.pointer.update(from: batch.images, count: batch.count * network.imageCount)
        let size = network.imageSize
        for image in 0..<batch.count {
            let start = images.pointer + image * network.imageCount
            ImagePlanes(start, channels: network.configuration.imageChannels, height: size, width: size).mirror()
        }
        _ = try network.evaluate(images.pointer, count: batch.count)
        logits.pointer.update(from: network.logits.baseAddress!, count: batch.count * network.configuration.classes)
    }
}
