import Glibc
import Kernels
import Support

/// A densely connected convolutional network (Huang, Liu, van der Maaten, Weinberger, arXiv 1608.06993), to evaluate
/// images with.
///
/// All memory is allocated by `init`. One network is used by one thread at a time.
public class DenseNet {
    /// The network's shape.
    public let configuration: DenseNetConfiguration
    /// The images that a pass can have.
    public let capacity: Int
    let parts: NetworkParts
    fileprivate var state: NetworkState { parts.state }

    /// Builds a network of zero weights.
    ///
    /// - Parameters:
    ///   - configuration: the network's shape.
    ///   - capacity: the images of this rank's part of the largest batch.
    ///   - threads: how many threads share a pass, the calling one among them; not one bit of a result depends on it.
    ///   - precision: the element type of the multiplications in dense layers.
    ///   - overhead: what shares the host's memory with the network.
    /// - Throws: `Failure(.usage)` on an impossible configuration, `Failure(.unavailable)` where memory is too small or
    ///   the system refuses the threads.
    public convenience init(
        _ configuration: DenseNetConfiguration, capacity: Int, threads: Int = 1, precision: Precision = .float32,
        overhead: MemoryOverhead = MemoryOverhead()
    ) throws {
        try self.init(
            configuration, capacity: capacity, training: false, threads: threads, precision: precision,
            overhead: overhead)
    }

    fileprivate init(
        _ configuration: DenseNetConfiguration, capacity: Int, training: Bool, threads: Int, precision: Precision,
        overhead: MemoryOverhead
    ) throws {
        try configuration.validate()
        precondition(capacity >= 0, "a pass cannot have \(capacity) images")
        try WorkerPool.validate(threads: threads)
        let images = max(capacity, 1)
        try overhead.requireMemory(
            configuration, images: images, training: training, threads: threads, precision: precision)
        self.configuration = configuration
        self.capacity = capacity
        parts = NetworkParts(
            configuration, images: images, training: training, threads: threads, precision: precision)
        OpenBLAS.prepare()
        try parts.state.workspace.start()
        resetStatistics()
    }

    /// Names, shapes and places of all parameters.
    package var table: ParameterTable { state.table }
    /// All trainable numbers, laid out as `table` says.
    package var parameters: UnsafeMutableBufferPointer<Float> { state.parameters.elements }
    /// All running means and variances.
    package var statistics: UnsafeMutableBufferPointer<Float> { state.statistics.elements }
    /// Where this rank's time goes.
    package var clock: PhaseClock { state.clock }
    /// The logits of the last pass, shape [capacity][classes].
    package var logits: UnsafeBufferPointer<Float> { UnsafeBufferPointer(parts.head.logits.elements) }

    /// Draws the initial weights: convolutions from a normal distribution of standard deviation √(2/(k²·outputs)), the
    /// classifier's uniformly within ±1/√inputs, norms 1, biases 0 (the paper's code).
    public func initialize(seed: UInt64) {
        for (index, parameter) in table.trainable.enumerated() {
            let elements = state.parameters[parameter.range]
            if parameter.shape.count == 4 {
                let deviation = sqrt(2 / Double(parameter.shape[2] * parameter.shape[3] * parameter.shape[0]))
                var random = CounterRandom(.weights, seed, UInt64(index))
                for i in elements.indices { elements[i] = Float(random.normal() * deviation) }
            } else if parameter.shape.count == 2 {
                let bound = 1 / sqrt(Float(parameter.shape[1]))
                var random = CounterRandom(.weights, seed, UInt64(index))
                for i in elements.indices { elements[i] = random.uniform(-bound, bound) }
            } else {
                elements.update(repeating: parameter.name.hasSuffix(".weight") ? 1 : 0)
            }
        }
        resetStatistics()
    }

    private func resetStatistics() {
        for parameter in table.statistics {
            state.statistics[parameter.range].update(repeating: parameter.name.hasSuffix(".running_var") ? 1 : 0)
        }
    }

    /// Computes the logits of images with the running statistics. Not collective.
    ///
    /// - Parameters:
    ///   - images: shape [count][3][image][image], normalised.
    ///   - count: `capacity` at most; may be 0.
    package func evaluate(_ images: UnsafePointer<Float>, count: Int) throws -> Predictions {
        try forward(images, PassContext(evaluating: count, clock: clock))
        return Predictions(network: self)
    }

    fileprivate func forward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws {
        precondition(pass.count <= capacity, "\(pass.count) images do not fit a network for \(capacity)")
        for s in parts.featureMaps.indices { parts.featureMaps[s].begin(images: pass.count) }
        clock.enter(.other, backward: false)
        try clock.span("stem forward") { try parts.stem.forward(images, pass) }
        for b in parts.blocks.indices {
            for l in parts.layers[b].indices {
                try clock.span("block \(b + 1) layer \(l + 1) forward") { try parts.layers[b][l].forward(pass) }
            }
            guard b < parts.transitions.count else { break }
            try clock.span("transition \(b + 1) forward") { try parts.transitions[b].forward(pass) }
        }
        clock.enter(.loss)
        parts.head.forward(pass)
    }
}

/// The network's answer to a batch; valid until its next pass.
package struct Predictions: ~Copyable {
    fileprivate let network: DenseNet

    /// The class of an image's largest logit, the first of equals; nil where a logit is not a number.
    package subscript(image: Int) -> Int? { network.parts.head.prediction(image) }

    /// Cross-entropy and hits, summed over the images.
    ///
    /// - Parameter labels: shape [count], each below the number of classes.
    package func loss(_ labels: UnsafePointer<Int32>) -> BatchResult {
        network.parts.head.loss(labels, labelSmoothing: 0)
    }
}

/// A network that can also be trained: forward, loss and backward of one rank's part of a batch.
///
/// A step is a chain of tokens, each consumed by the next call: `forward` → `ForwardPass.loss` → `Loss.backward`.
public final class TrainableDenseNet: DenseNet {
    private let dropoutKeys: AlignedBuffer<UInt64>

    /// As `DenseNet.init`; takes about four times its memory.
    public init(
        _ configuration: DenseNetConfiguration, capacity: Int, threads: Int = 1, precision: Precision = .float32,
        overhead: MemoryOverhead = MemoryOverhead()
    ) throws {
        dropoutKeys = AlignedBuffer(count: configuration.dropout > 0 ? max(capacity, 1) : 0)
        try super.init(
            configuration, capacity: capacity, training: true, threads: threads, precision: precision,
            overhead: overhead)
    }

    /// The gradients of the trainable numbers, laid out as these are.
    package var gradients: UnsafeMutableBufferPointer<Float> { state.gradients.elements }
    /// The buffer of `gradients`, for an all-reduce that keeps it alive.
    package var gradientBuffer: AlignedBuffer<Float> { state.gradients }

    /// Computes the logits of this rank's images with the batch statistics of all ranks' images. Collective.
    ///
    /// - Parameters:
    ///   - images: shape [count][3][image][image], normalised; must stay as they are until `backward` has returned.
    ///   - count: this rank's images, `capacity` at most; may be 0.
    ///   - globalCount: all ranks' images.
    ///   - dropout: what dropout is drawn from, with the images' numbers in the set; may be nil where dropout is 0.
    ///   - sums: answers for the sums over ranks.
    package func forward(
        _ images: UnsafePointer<Float>, count: Int, globalCount: Int,
        dropout: (seed: UInt64, epoch: Int, samples: UnsafePointer<Int32>)? = nil, sums: any GlobalSums
    ) throws -> ForwardPass {
        precondition(configuration.dropout == 0 || dropout != nil, "dropout needs a seed")
        if configuration.dropout > 0, let dropout {
            for n in 0..<count {
                var random = CounterRandom(.dropout, dropout.seed, UInt64(dropout.epoch), UInt64(dropout.samples[n]))
                dropoutKeys.pointer[n] = random.next()
            }
        }
        let pass = PassContext(
            training: true, count: count, globalCount: globalCount, dropoutKeys: UnsafePointer(dropoutKeys.pointer),
            sums: sums, clock: clock)
        try forward(images, pass)
        return ForwardPass(network: self, images: images, pass: pass)
    }

    fileprivate func backward(_ images: UnsafePointer<Float>, _ pass: PassContext, ready: (Int) throws -> Void) throws {
        clock.enter(.loss, backward: true)
        parts.head.backward()
        try ready(table.finalNorm.weight.range.upperBound)
        for b in parts.blocks.indices.reversed() {
            for l in parts.layers[b].indices.reversed() {
                try clock.span("block \(b + 1) layer \(l + 1) backward") { try parts.layers[b][l].backward(pass) }
                try ready(table.blocks[b][l].end)
            }
            guard b > 0 else { break }
            try clock.span("transition \(b) backward") { try parts.transitions[b - 1].backward(pass) }
            try ready(table.transitions[b - 1].end)
        }
        try clock.span("stem backward") { try parts.stem.backward(images, pass) }
        clock.enter(.other)
        try ready(table.parameterCount)
    }
}

/// A forward pass in training, whose loss is to be taken.
package struct ForwardPass: ~Copyable {
    fileprivate let network: TrainableDenseNet
    fileprivate let images: UnsafePointer<Float>
    fileprivate let pass: PassContext

    /// Cross-entropy and hits, summed over this rank's images.
    ///
    /// - Parameter labels: shape [count], each below the number of classes.
    package consuming func loss(_ labels: UnsafePointer<Int32>, labelSmoothing: Double = 0) -> Loss {
        let result = network.parts.head.loss(labels, labelSmoothing: labelSmoothing)
        return Loss(result: result, network: network, images: images, pass: pass)
    }
}

/// The loss of a training pass, whose gradients are to be computed.
package struct Loss: ~Copyable {
    package let result: BatchResult
    fileprivate let network: TrainableDenseNet
    fileprivate let images: UnsafePointer<Float>
    fileprivate let pass: PassContext

    /// Computes the gradients of the SUM of this rank's losses. Collective.
    ///
    /// Summed over ranks and divided by the global number of images, the gradients are those of the global batch's mean
    /// loss.
    ///
    /// - Parameter ready: the flat gradients fill from front to back; hears up to which offset they are final.
    package consuming func backward(ready: (_ offset: Int) throws -> Void = { _ in }) throws {
        try network.backward(images, pass, ready: ready)
    }
}
