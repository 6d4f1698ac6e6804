import DataParallel
import Glibc
import Support

/// The softmax outputs of the images of an evaluation, for the area under each class's ROC curve.
///
/// Each rank keeps those of its own images; they are gathered a few classes at a time, and each rank takes its share of the
/// classes.
struct ClassScores {
    /// Of all ranks together, 64 MiB.
    private static let limit = 1 << 24
    /// That are gathered at a time.
    private static let blockLimit = 1 << 20

    private let classes: Int
    /// Shape [images][classes].
    private var scores: [Float] = []
    private var labels: [Int32] = []

    /// Why images of so many classes are too many; nil where they are not.
    static func refusal(images: Int, classes: Int) -> String? {
        images <= limit / classes
            ? nil : "\(images) test images of \(classes) classes have more than \(limit) outputs"
    }

    init(classes: Int) { self.classes = classes }

    mutating func removeAll() {
        scores.removeAll(keepingCapacity: true)
        labels.removeAll(keepingCapacity: true)
    }

    /// - Parameter logits: of one image. Where one is not a number no output is.
    mutating func add(_ logits: some Collection<Float>, label: Int32) {
        let largest = Double(logits.max() ?? 0)
        let sum = logits.reduce(0) { $0 + exp(Double($1) - largest) }
        scores += logits.lazy.map { Float(exp(Double($0) - largest) / sum) }
        labels.append(label)
    }

    /// The area under the curve of each class against the rest; nil for a class that has no image or all of them, and where
    /// an output is not a number. Collective; the same on all ranks.
    func areas(_ communicator: Communicator) throws -> [Double?] {
        let all = try gather(labels, communicator).flatMap(\.self)
        let block = max(Self.blockLimit / max(all.count, 1), 1)
        var areas = [Double](repeating: 0, count: classes)
        for first in stride(from: 0, to: classes, by: block) {
            let gathered = first..<min(first + block, classes)
            let own = gathered.flatMap { label in labels.indices.map { scores[$0 * classes + label] } }
            let ofRanks = try gather(own, communicator)
            for label in gathered where label % communicator.size == communicator.rank {
                let column = ofRanks.flatMap { scores in
                    let images = scores.count / gathered.count
                    return scores[(label - first) * images..<(label - first + 1) * images]
                }
                areas[label] = Self.area(column, isOfClass: all.map { $0 == Int32(label) }) ?? .nan
            }
        }
        return try communicator.allReduceSum(areas).map { $0.isNaN ? nil : $0 }
    }

    /// The area under a ROC curve: the share of the pairs of an image of a class and one of another in which the former has
    /// the higher score; a pair of equal scores counts half (Mann and Whitney's U).
    ///
    /// - Parameter scores: 0 or above.
    /// - Returns: nil where there is no pair, or a score is not a number.
    static func area(_ scores: [Float], isOfClass: [Bool]) -> Double? {
        guard !scores.contains(where: \.isNaN) else { return nil }
        // Numbers from 0 on have the order of their bits.
        let keys = zip(scores, isOfClass).map { $0.bitPattern << 1 | ($1 ? 1 : 0) }.sorted()
        var (positives, negatives, twice) = (0, 0, 0)
        var place = 0
        while place < keys.count {
            let score = keys[place] >> 1
            var equal = (positives: 0, negatives: 0)
            while place < keys.count, keys[place] >> 1 == score {
                if keys[place] & 1 == 1 { equal.positives += 1 } else { equal.negatives += 1 }
                place += 1
            }
            twice += equal.positives * (2 * negatives + equal.negatives)
            positives += equal.positives
            negatives += equal.negatives
        }
        return positives > 0 && negatives > 0 ? Double(twice) / (2 * Double(positives) * Double(negatives)) : nil
    }

    /// The elements of each rank. Collective.
    private func gather<Element: BitwiseCopyable>(
        _ own: [Element], _ communicator: Communicator
    ) throws -> [[Element]] {
        let stride = MemoryLayout<Element>.stride
        return try communicator.allGather(bytes: own.withUnsafeBytes { Array($0) }).map { bytes in
            bytes.withUnsafeBytes { bytes in
                (0..<bytes.count / stride).map { bytes.loadUnaligned(fromByteOffset: $0 * stride, as: Element.self) }
            }
        }
    }
}
