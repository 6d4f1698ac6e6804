import Glibc
import Support

/// A network's output for one image.
public struct Prediction: Sendable, Equatable {
    /// The softmax of the logits: one probability per class.
    public let probabilities: [Float]

    /// The most probable class, the first of equals.
    public var classIndex: Int { probabilities.indices.max { probabilities[$0] < probabilities[$1] } ?? 0 }

    /// The `count` most probable classes, in descending order.
    public func best(_ count: Int) -> [(classIndex: Int, probability: Float)] {
        let order = probabilities.indices.sorted { (probabilities[$1], $0) < (probabilities[$0], $1) }
        return order.prefix(count).map { ($0, probabilities[$0]) }
    }

    /// - Throws: `Failure(.data)` if a logit is not finite.
    package init(logits: UnsafeBufferPointer<Float>) throws {
        guard let largest = logits.max(), logits.allSatisfy(\.isFinite) else {
            throw Failure(.data, "the network's output is not finite; check its weights and the image")
        }
        let powers = logits.map { exp(Double($0) - Double(largest)) }
        let sum = powers.reduce(0, +)
        probabilities = powers.map { Float($0 / sum) }
    }
}

extension DenseNet {
    /// Classifies images with the network's running statistics. Not collective.
    ///
    /// - Parameter images: shape [count][channels][image][image], normalized as in training; any number of images.
    /// - Throws: `Failure(.usage)` if `images` does not hold whole images or `capacity` is 0; `Failure(.data)` if an
    ///   output is not finite.
    public func predict(_ images: Span<Float>) throws -> [Prediction] {
        let pixels = configuration.imageCount
        guard images.count.isMultiple(of: pixels), capacity > 0 else {
            throw Failure(
                .usage,
                "\(images.count) numbers: expected a multiple of \(pixels), images of \(configuration.imageChannels) × "
                    + "\(configuration.image) × \(configuration.image), and a network for one image or more")
        }
        return try images.withUnsafeBufferPointer { buffer in
            var predictions: [Prediction] = []
            guard let start = buffer.baseAddress else { return predictions }
            for first in stride(from: 0, to: buffer.count / pixels, by: capacity) {
                let count = min(capacity, buffer.count / pixels - first)
                _ = try evaluate(start + first * pixels, count: count)
                for n in 0..<count {
                    let row = n * configuration.classes..<(n + 1) * configuration.classes
                    predictions.append(try Prediction(logits: UnsafeBufferPointer(rebasing: logits[row])))
                }
            }
            return predictions
        }
    }
}
