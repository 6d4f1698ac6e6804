import Glibc
import Kernels
import Support

/// A densely connected convolutional network (Huang, Liu, van der Maaten, Weinberger, arXiv 1608.06993) for inference.
///
/// `init` allocates all memory. Not thread-safe: one thread at a time may use a network.
public class DenseNet {
    /// The network's shape.
    public let configuration: DenseNetConfiguration
    /// The maximum number of images per pass.
    public let capacity: Int
    /// Height and width in pixels of the images of a pass: the configuration's, unless a network in training has
    /// others.
    package fileprivate(set) var imageSize: Int
    /// Numbers of an image of a pass.
    package var imageCount: Int { configuration.imageChannels * imageSize * imageSize }
    /// What does not learn; passes of a network in training follow it.
    package fileprivate(set) var frozen = FrozenParts.none
    /// Nil only while memory for another size of images is made.
    private var builtParts: NetworkParts?
    private let threads: Int
    var parts: NetworkParts { builtParts! }
    fileprivate var state: SharedNetworkState { parts.state }

    /// Builds a network whose weights are zero.
    ///
    /// - Parameters:
    ///   - configuration: the network's shape.
    ///   - capacity: this rank's maximum number of images per pass.
    ///   - threads: the number of threads, including the calling one; results are bit-identical for any number.
    ///   - precision: the element type of the multiplications in dense layers.
    ///   - overhead: what shares the host's memory with the network.
    /// - Throws: `Failure(.usage)` for an invalid configuration; `Failure(.unavailable)` if there is not enough memory
    ///   or the system refuses the threads.
    public convenience init(
        _ configuration: DenseNetConfiguration, capacity: Int, threads: Int = 1, precision: Precision = .float32,
        overhead: MemoryOverhead = MemoryOverhead()
    ) throws {
        try self.init(
            configuration, capacity: capacity, imageSize: configuration.image, training: false, threads: threads,
            precision: precision, overhead: overhead)
    }

    /// Builds a network for inference that shares the weights and running statistics of one that is trained, whatever
    /// the size of the images that train it.
    ///
    /// Needs no check for memory: `MemoryOverhead` counts it.
    ///
    /// - Parameter size: height and width in pixels of its images.
    /// - Throws: `Failure(.unavailable)` if the system refuses the threads.
    package init(sharingWeightsOf network: TrainableDenseNet, imageSize size: Int) throws {
        (configuration, capacity, threads) = (network.configuration, network.capacity, network.threads)
        imageSize = size
        try build(training: false, precision: network.state.precision, buffers: network.state.buffers)
    }

    fileprivate init(
        _ configuration: DenseNetConfiguration, capacity: Int, imageSize: Int, training: Bool, threads: Int,
        precision: Precision, overhead: MemoryOverhead
    ) throws {
        try configuration.validate()
        precondition(capacity >= 0, "a pass cannot have \(capacity) images")
        try WorkerPool.validate(threads: threads)
        let images = max(capacity, 1)
        try overhead.requireMemory(
            configuration, images: images, training: training, threads: threads, precision: precision)
        (self.configuration, self.capacity, self.imageSize) = (configuration, capacity, imageSize)
        self.threads = threads
        try build(training: training, precision: precision, buffers: nil)
        resetStatistics()
    }

    /// Allocates what depends on the size of the images, and starts the threads.
    private func build(training: Bool, precision: Precision, buffers: FlatBuffers?) throws {
        let parts = NetworkParts(
            configuration.withImages(of: imageSize), images: max(capacity, 1), training: training, threads: threads,
            precision: precision, buffers: buffers)
        OpenBLAS.prepare()
        try parts.state.workspace.start()
        builtParts = parts
    }

    /// Releases what depends on the size of the images, then allocates it for another.
    fileprivate func rebuild(imageSize: Int) throws {
        let (precision, buffers, normMomentum) = (state.precision, state.buffers, state.normMomentum)
        builtParts = nil
        self.imageSize = imageSize
        try build(training: true, precision: precision, buffers: buffers)
        state.normMomentum = normMomentum
    }

    /// Names, shapes and offsets of all parameters.
    package var table: ParameterTable { state.table }
    /// All trainable parameters, laid out as in `table`.
    package var parameters: UnsafeMutableBufferPointer<Float> { state.parameters.elements }
    /// All running means and variances, laid out as in `table`.
    package var runningStatistics: UnsafeMutableBufferPointer<Float> { state.runningStatistics.elements }
    /// Where this rank's time goes.
    package var clock: PhaseClock { state.clock }
    /// The logits of the last pass, shape [capacity][classes].
    package var logits: UnsafeBufferPointer<Float> { UnsafeBufferPointer(parts.head.logits.elements) }

    /// Computes the logits of a batch with the running statistics. Not collective.
    ///
    /// - Parameters:
    ///   - images: shape [count][channels][imageSize][imageSize], normalized.
    ///   - count: at most `capacity`; may be 0.
    package func evaluate(_ images: UnsafePointer<Float>, count: Int) throws -> Predictions {
        try forward(images, PassContext(evaluating: count, clock: clock))
        return Predictions(network: self)
    }

    fileprivate func forward(_ images: UnsafePointer<Float>, _ pass: PassContext) throws {
        precondition(pass.count <= capacity, "\(pass.count) images do not fit a network for \(capacity)")
        for s in parts.featureMaps.indices { parts.featureMaps[s].begin(images: pass.count) }
        clock.enter(.other, backward: false)
        // The stem is part 0 of the network, block b of 0… part 2b + 1, and the norm after it part 2b + 2.
        try clock.span("stem forward") { try parts.stem.forward(images, frozen.pass(pass, of: 0)) }
        for b in parts.blocks.indices {
            let blockPass = frozen.pass(pass, of: 2 * b + 1)
            for l in parts.layers[b].indices {
                try clock.span("block \(b + 1) layer \(l + 1) forward") { try parts.layers[b][l].forward(blockPass) }
            }
            guard b < parts.transitions.count else { break }
            try clock.span("transition \(b + 1) forward") {
                try parts.transitions[b].forward(frozen.pass(pass, of: 2 * b + 2))
            }
        }
        clock.enter(.loss)
        parts.head.forward(frozen.pass(pass, of: 2 * parts.blocks.count))
    }
}

/// Loss and accuracy of a batch, summed over this rank's images.
public struct BatchResult: Sendable, Equatable {
    /// The sum of the images' cross-entropies (natural logarithm), weighted where classes have weights.
    public var lossSum: Double
    /// The number of images whose label has the largest logit.
    public var correct: Int
    /// What the sum is divided by for the mean loss: the number of images, or the sum of the weights of their classes.
    public var weight: Double
}

/// The network's output for a batch; valid until the network's next pass.
package struct Predictions: ~Copyable {
    fileprivate let network: DenseNet

    /// The class with the largest logit, the first of equals; nil if a logit is NaN.
    package subscript(image: Int) -> Int? { network.parts.head.prediction(image) }

    /// Replaces each logit by its mean with another's of the same images.
    ///
    /// - Parameter others: shape [count][classes].
    package func average(with others: UnsafePointer<Float>) { network.parts.head.averageLogits(with: others) }

    /// Cross-entropy and correct predictions, summed over the images.
    ///
    /// - Parameter labels: shape [count], each below the number of classes.
    package func loss(_ labels: UnsafePointer<Int32>) -> BatchResult {
        network.parts.head.loss(BatchLabels(labels), labelSmoothing: 0, classWeights: nil)
    }
}

/// A network that can be trained: forward, loss and backward for one rank's part of a batch.
///
/// A step is a chain of tokens, each consumed by the next call: `forward` → `ForwardPass.loss` → `Loss.backward`.
public final class TrainableDenseNet: DenseNet {
    private let dropoutKeys: AlignedBuffer<UInt64>

    /// The random source of dropout, with each image's index in the data set.
    package typealias DropoutSource = (seed: UInt64, epoch: Int, samples: UnsafePointer<Int32>)

    /// As `DenseNet.init`, with about four times the memory.
    public convenience init(
        _ configuration: DenseNetConfiguration, capacity: Int, threads: Int = 1, precision: Precision = .float32,
        overhead: MemoryOverhead = MemoryOverhead()
    ) throws {
        try self.init(
            configuration, capacity: capacity, imageSize: configuration.image, threads: threads, precision: precision,
            overhead: overhead)
    }

    /// - Parameter imageSize: height and width in pixels of the images of the first passes.
    package init(
        _ configuration: DenseNetConfiguration, capacity: Int, imageSize: Int, threads: Int, precision: Precision,
        overhead: MemoryOverhead
    ) throws {
        dropoutKeys = AlignedBuffer(count: configuration.dropout > 0 ? max(capacity, 1) : 0)
        try super.init(
            configuration, capacity: capacity, imageSize: imageSize, training: true, threads: threads,
            precision: precision, overhead: overhead)
    }

    /// Makes passes take images of another size: no parameter has a shape that depends on it, so weights, gradients and
    /// running statistics stay where they are. Releases the activations and allocates others.
    ///
    /// Needs no check for memory where `MemoryOverhead` knows the size.
    ///
    /// - Parameter size: height and width in pixels, with which the configuration is valid.
    /// - Throws: `Failure(.unavailable)` if the system refuses the threads; the network cannot be used any more then.
    package func setImageSize(_ size: Int) throws {
        if size != imageSize { try rebuild(imageSize: size) }
    }

    /// The gradients of `parameters`, in the same layout.
    package var gradients: UnsafeMutableBufferPointer<Float> { state.gradients.elements }
    /// The end of the gradients that backward computes; those behind it stay 0.
    package var gradientEnd: Int { frozen.gradientEnd(table) }
    /// The number of parameters that are not frozen.
    package var learningParameterCount: Int {
        table.trainable.reduce(0) { $0 + (frozen.contain($1.range, of: table) ? 0 : $1.count) }
    }
    /// The memory of `gradients`, for an all-reduce that keeps it alive.
    package var gradientBuffer: AlignedBuffer<Float> { state.gradients }

    /// The `normMomentum` of a new network, as in PyTorch and the papers.
    public static let defaultNormMomentum = 0.1

    /// The weight of a new batch in the running statistics, above 0 and up to 1: PyTorch's `momentum` of a batch norm.
    public var normMomentum: Double {
        get { state.normMomentum }
        set { state.normMomentum = newValue }
    }

    /// Freezes parts of the network, in place of those that were: their parameters do not move. Call it before
    /// `TrainingStep.init`.
    ///
    /// What lies before the first part that learns has no gradients.
    ///
    /// - Parameters:
    ///   - parts: may be empty.
    ///   - evaluatingNorms: whether they work as in evaluation: norms by running statistics, which stay as they are, and
    ///     no dropout. Otherwise they take batch statistics and move their running statistics, as PyTorch's do in
    ///     training mode where `requires_grad` is false.
    /// - Throws: `Failure(.usage)` for a part that the network does not have, where no part is left that learns, and for
    ///   `evaluatingNorms` where a frozen part comes after one that learns.
    public func freeze(_ parts: [NetworkPart], evaluatingNorms: Bool = false) throws {
        frozen = try FrozenParts(parts, areEvaluated: evaluatingNorms, of: configuration)
        gradients.update(repeating: 0)
    }

    /// Runs `body` with other parameters and running statistics in the place of the network's own, and of those that
    /// share them, by pointers: for evaluating them, and for writing them to a file.
    ///
    /// - Parameters:
    ///   - parameters: laid out as in `table`.
    ///   - statistics: likewise, running means and variances.
    package func withWeights<Result>(
        _ parameters: AlignedBuffer<Float>, statistics: AlignedBuffer<Float>, _ body: () throws -> Result
    ) rethrows -> Result {
        let buffers = state.buffers
        let own = (buffers.parameters, buffers.runningStatistics)
        (buffers.parameters, buffers.runningStatistics) = (parameters, statistics)
        defer { (buffers.parameters, buffers.runningStatistics) = own }
        return try body()
    }

    /// Moves parameters and gradients to other memory, such as processes share.
    ///
    /// - Parameters:
    ///   - parameters: laid out as in `table`.
    ///   - gradients: likewise; their values stay behind.
    ///   - copying: whether to write the parameters there, rather than find them there.
    package func move(
        parametersTo parameters: AlignedBuffer<Float>, gradientsTo gradients: AlignedBuffer<Float>, copying: Bool
    ) {
        precondition(
            parameters.count == table.parameterCount && gradients.count == table.parameterCount,
            "\(parameters.count) and \(gradients.count) elements for \(table.parameterCount) parameters")
        if copying { _ = parameters.elements.update(fromContentsOf: state.parameters.elements) }
        (state.buffers.parameters, state.buffers.gradients) = (parameters, gradients)
    }

    /// Computes the logits of this rank's images with the batch statistics of all ranks' images. Collective.
    ///
    /// - Parameters:
    ///   - images: shape [count][channels][imageSize][imageSize], normalized; must not change until `backward` has returned.
    ///   - count: this rank's number of images, at most `capacity`; may be 0.
    ///   - globalCount: the number of images of all ranks.
    ///   - dropout: the random source of dropout; may be nil if dropout is 0.
    ///   - sums: computes sums over all ranks.
    package func forward(
        _ images: UnsafePointer<Float>, count: Int, globalCount: Int, dropout: DropoutSource? = nil,
        sums: any GlobalSums
    ) throws -> ForwardPass {
        let pass = PassContext(
            training: true, count: count, statisticsCount: globalCount,
            dropoutKeys: dropoutKeys(dropout, count: count), sums: sums, clock: clock)
        try forward(images, pass)
        return ForwardPass(network: self, images: images, pass: pass)
    }

    /// As `forward(_:count:globalCount:dropout:sums:)`, with the batch statistics of these images alone, which `groups`
    /// keeps for the running statistics. Not collective, nor is its backward.
    func forward(
        _ images: UnsafePointer<Float>, count: Int, dropout: DropoutSource?, groups: ImageGroups
    ) throws -> ForwardPass {
        let pass = PassContext(
            training: true, count: count, statisticsCount: count, dropoutKeys: dropoutKeys(dropout, count: count),
            sums: nil, groups: groups, clock: clock)
        try forward(images, pass)
        return ForwardPass(network: self, images: images, pass: pass)
    }

    private func dropoutKeys(_ dropout: DropoutSource?, count: Int) -> UnsafePointer<UInt64> {
        precondition(configuration.dropout == 0 || dropout != nil, "dropout needs a seed")
        if configuration.dropout > 0, let dropout {
            for n in 0..<count {
                var random = CounterRandom(.dropout, dropout.seed, UInt64(dropout.epoch), UInt64(dropout.samples[n]))
                dropoutKeys.pointer[n] = random.next()
            }
        }
        return UnsafePointer(dropoutKeys.pointer)
    }

    fileprivate func backward(_ images: UnsafePointer<Float>, _ pass: PassContext, ready: (Int) throws -> Void) throws {
        clock.enter(.loss, backward: true)
        let passesNorm = frozen.hasGradients(2 * parts.blocks.count)
        parts.head.backward(toFeatures: passesNorm)
        try ready(table.range(of: passesNorm ? .norm : .classifier).upperBound)
        for b in parts.blocks.indices.reversed() where frozen.hasGradients(2 * b + 1) {
            for l in parts.layers[b].indices.reversed() {
                try clock.span("block \(b + 1) layer \(l + 1) backward") { try parts.layers[b][l].backward(pass) }
                try ready(table.blocks[b][l].end)
            }
            guard b > 0, frozen.hasGradients(2 * b) else { break }
            try clock.span("transition \(b) backward") { try parts.transitions[b - 1].backward(pass) }
            try ready(table.transitions[b - 1].end)
        }
        if frozen.hasGradients(0) {
            try clock.span("stem backward") { try parts.stem.backward(images, pass) }
            clock.enter(.other)
            try ready(table.parameterCount)
        }
    }
}

/// A completed forward pass in training; `loss` consumes it.
package struct ForwardPass: ~Copyable {
    fileprivate let network: TrainableDenseNet
    fileprivate let images: UnsafePointer<Float>
    fileprivate let pass: PassContext

    /// Cross-entropy and correct predictions, summed over this rank's images.
    ///
    /// - Parameters:
    ///   - labels: of these images.
    ///   - labelSmoothing: the share of the target that is spread over all classes.
    ///   - classWeights: what each class counts for, 0 or above; nil where all count the same.
    package consuming func loss(
        _ labels: BatchLabels, labelSmoothing: Double = 0, classWeights: [Double]? = nil
    ) -> Loss {
        let result = network.parts.head.loss(labels, labelSmoothing: labelSmoothing, classWeights: classWeights)
        return Loss(result: result, network: network, images: images, pass: pass)
    }

    /// The same of images that are not mixed.
    ///
    /// - Parameter labels: shape [count], each below the number of classes.
    package consuming func loss(
        _ labels: UnsafePointer<Int32>, labelSmoothing: Double = 0, classWeights: [Double]? = nil
    ) -> Loss {
        loss(BatchLabels(labels), labelSmoothing: labelSmoothing, classWeights: classWeights)
    }
}

/// The loss of a training pass; `backward` consumes it.
package struct Loss: ~Copyable {
    package let result: BatchResult
    fileprivate let network: TrainableDenseNet
    fileprivate let images: UnsafePointer<Float>
    fileprivate let pass: PassContext

    /// Computes the gradients of the SUM of this rank's losses. Collective.
    ///
    /// Summed over ranks and divided by the results' `weight`, likewise summed, they are the gradients of the global
    /// batch's mean loss.
    ///
    /// - Parameter ready: called with the offset up to which `gradients` is final; the buffer fills from front to back.
    package consuming func backward(ready: (_ offset: Int) throws -> Void = { _ in }) throws {
        try network.backward(images, pass, ready: ready)
    }
}
