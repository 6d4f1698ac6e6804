import Glibc
import Kernels
import Support

/// The numbers of a network that its layers share: flat buffers with one table of names, shapes and places.
final class NetworkState {
    let configuration: DenseNetConfiguration
    let precision: Precision
    let table: ParameterTable
    let parameters: AlignedBuffer<Float>
    let gradients: AlignedBuffer<Float>
    let statistics: AlignedBuffer<Float>
    let workspace: Workspace
    /// Where this rank's time goes, as its calling thread sees it.
    let clock = PhaseClock()

    init(_ configuration: DenseNetConfiguration, training: Bool, threads: Int, precision: Precision) throws {
        self.configuration = configuration
        self.precision = precision
        table = ParameterTable(configuration)
        parameters = AlignedBuffer(count: table.learntCount)
        gradients = AlignedBuffer(count: training ? table.learntCount : 0)
        statistics = AlignedBuffer(count: table.statisticsCount)
        workspace = try Workspace(threads: threads)
    }

    /// Writes a weight's gradient, which the chunks of a stage left in shape [inputs][width], into the flat buffer.
    func writePointwiseGradient(of weight: Parameter, width: Int, _ stage: Stage) {
        let outputs = weight.shape[0]
        let inputs = weight.count / outputs
        let from = workspace.sumOfWeightGradients(stage, count: inputs * width)
        let to = gradients.pointer + weight.offset
        transposeMatrix(from, rows: inputs, columns: outputs, fromStride: width, to: to, toStride: inputs)
    }
}

/// A densely connected convolutional network (Huang, Liu, van der Maaten, Weinberger, arXiv 1608.06993).
///
/// Forward, loss and backward of one rank's part of a batch. All memory is allocated by `init`.
package final class DenseNet {
    package let configuration: DenseNetConfiguration
    /// The images that a pass can have.
    package let capacity: Int
    private let isTraining: Bool
    private let state: NetworkState
    let stem: any Stem
    private let stages: [Stage]
    let blocks: [FeatureBlock]
    let layers: [[any DenseLayer]]
    private let transitions: [Transition]
    private let head: Head
    private let dropoutKeys: AlignedBuffer<UInt64>
    private let scratch: [Panels]
    /// The pass that `forward` began and `backward` ends.
    private var pass: Pass?

    /// Builds a network of zero weights.
    ///
    /// - Parameters:
    ///   - capacity: the images of this rank's part of the largest batch.
    ///   - training: whether `backward` will be called; without, the network needs about a quarter of the memory.
    ///   - threads: how many threads share a pass, the calling one among them; results do not depend on it in a
    ///     single bit.
    ///   - precision: in what the convolutions of dense layers multiply.
    ///   - company: what shares memory with the network.
    /// - Throws: `Failure(.usage)` on an impossible configuration, `Failure(.unavailable)` where memory is too small
    ///   or the system refuses the threads.
    package init(
        _ configuration: DenseNetConfiguration, capacity: Int, training: Bool, threads: Int = 1,
        precision: Precision = .float32, company: MemoryCompany = MemoryCompany()
    ) throws {
        try configuration.validate()
        precondition(capacity >= 0, "a pass cannot have \(capacity) images")
        try WorkerPool.validate(threads: threads)
        try company.demandMemory(configuration, images: max(capacity, 1), training: training, threads: threads)
        self.configuration = configuration
        self.capacity = capacity
        isTraining = training
        let state = try NetworkState(configuration, training: training, threads: threads, precision: precision)
        self.state = state
        let table = state.table
        let images = max(capacity, 1)
        dropoutKeys = AlignedBuffer(count: configuration.dropout > 0 ? images : 0)

        let blocks = zip(configuration.blockSizes, configuration.blockChannels).map { size, channels in
            FeatureBlock(
                stage: Stage(layout: PanelLayout(height: size, width: size, images: images)), channels: channels,
                images: images, training: training)
        }
        self.blocks = blocks
        var stages = blocks.map(\.stage)
        switch configuration.stem {
        case .cifar:
            stem = CIFARStem(table, to: blocks[0], state: state)
        case .imagenet:
            let size = configuration.stemConvolutionSize
            let stage = Stage(layout: PanelLayout(height: size, width: size, images: images))
            stages.append(stage)
            stem = ImageNetStem(table, stage: stage, to: blocks[0], images: images, training: training, state: state)
        }
        self.stages = stages

        var number = 1
        var layers: [[any DenseLayer]] = []
        var transitions: [Transition] = []
        var scratch: [Panels] = []
        for (b, block) in blocks.enumerated() {
            func reducedPanels() -> Panels {
                Panels(layout: block.layout, channels: 4 * configuration.growthRate, images: images)
            }
            // Training keeps each layer's reduced features until backward; their gradient, and evaluation, need one at
            // a time.
            let shared = configuration.bottleneck ? reducedPanels() : nil
            if let shared { scratch.append(shared) }
            layers.append(
                table.blocks[b].map { parameters in
                    defer { number += configuration.bottleneck ? 2 : 1 }
                    guard let shared else { return PlainLayer(parameters, in: block, layer: number, state: state) }
                    return BottleneckLayer(
                        parameters, in: block, layer: number, reduced: training ? reducedPanels() : shared,
                        reducedGradient: training ? shared : nil, state: state)
                })
            if b + 1 < blocks.count {
                transitions.append(
                    Transition(
                        table.transitions[b], from: block, to: blocks[b + 1], images: images, layer: number,
                        state: state))
                number += 1
            }
        }
        self.layers = layers
        self.transitions = transitions
        self.scratch = scratch
        head = Head(table, of: blocks[blocks.count - 1], images: images, state: state)
        state.workspace.allocate(training: training, clock: state.clock)
        resetStatistics()
    }

    /// Names, shapes and places of all parameters.
    package var table: ParameterTable { state.table }
    /// All learnt numbers, laid out as `table` says.
    package var parameters: UnsafeMutableBufferPointer<Float> { state.parameters.elements }
    /// The gradients of the learnt numbers, laid out alike; empty for a network that only evaluates.
    package var gradients: UnsafeMutableBufferPointer<Float> { state.gradients.elements }
    /// What `gradients` lie in, for an all-reduce that keeps them alive.
    package var gradientBuffer: AlignedBuffer<Float> { state.gradients }
    /// Where this rank's time goes.
    package var clock: PhaseClock { state.clock }
    /// All running means and variances.
    package var statistics: UnsafeMutableBufferPointer<Float> { state.statistics.elements }
    /// The logits of the last forward pass, shape [images][classes].
    package var logits: UnsafeBufferPointer<Float> { UnsafeBufferPointer(head.logits.elements) }

    /// Draws the initial weights: convolutions from a normal distribution of standard deviation √(2/(k²·outputs)), the
    /// classifier's uniformly within ±1/√inputs, norms 1, biases 0 (the paper's code).
    package func initialize(seed: UInt64) {
        for (index, parameter) in table.learnt.enumerated() {
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

    /// Computes the logits of this rank's images. Collective in training: batch statistics are those of all ranks'
    /// images.
    ///
    /// - Parameters:
    ///   - images: shape [count][3][image][image], normalised. In training they must stay until `backward` has
    ///     returned.
    ///   - count: this rank's images, `capacity` at most; may be 0.
    ///   - globalCount: all ranks' images.
    ///   - dropoutSeed: with the images' numbers, what dropout is drawn from; nil in evaluation and where dropout is 0.
    ///   - sums: answers for the sums over ranks.
    package func forward(
        _ images: UnsafePointer<Float>, count: Int, globalCount: Int, training: Bool,
        dropout: (seed: UInt64, epoch: Int, samples: UnsafePointer<Int32>)? = nil, sums: any GlobalSums
    ) throws {
        precondition(count <= capacity, "\(count) images do not fit a network for \(capacity)")
        precondition(!training || isTraining, "the network was built to evaluate")
        precondition(!training || configuration.dropout == 0 || dropout != nil, "dropout needs a seed")
        if training, configuration.dropout > 0, let dropout {
            for n in 0..<count {
                var random = CounterRandom(.dropout, dropout.seed, UInt64(dropout.epoch), UInt64(dropout.samples[n]))
                dropoutKeys.pointer[n] = random.next()
            }
        }
        let pass = Pass(
            training: training, count: count, globalCount: globalCount, dropoutKeys: UnsafePointer(dropoutKeys.pointer),
            sums: sums, clock: state.clock)
        self.pass = pass
        for stage in stages { stage.begin(images: count) }
        let clock = state.clock
        clock.enter(.other, backward: false)
        try clock.span("stem forward") { try stem.forward(images, pass) }
        for b in blocks.indices {
            for (l, layer) in layers[b].enumerated() {
                try clock.span("block \(b + 1) layer \(l + 1) forward") { try layer.forward(pass) }
            }
            if b < transitions.count {
                try clock.span("transition \(b + 1) forward") { try transitions[b].forward(pass) }
            }
        }
        clock.enter(.loss)
        head.forward(pass)
    }

    /// Cross-entropy of the last forward pass, summed over this rank's images; leaves the gradient that `backward`
    /// starts from.
    ///
    /// - Parameter labels: shape [count], each below the number of classes.
    package func loss(_ labels: UnsafePointer<Int32>, labelSmoothing: Double = 0) -> BatchResult {
        guard let pass else { preconditionFailure("there was no forward pass") }
        return head.loss(labels, count: pass.count, labelSmoothing: labelSmoothing)
    }

    /// The class that the last forward pass finds in an image of this rank; nil where a logit is not a number.
    package func prediction(_ image: Int) -> Int? { head.prediction(image) }

    /// Whether all logits of the last forward pass are numbers and not infinite.
    var logitsAreFinite: Bool {
        (0..<(pass?.count ?? 0) * configuration.classes).allSatisfy { head.logits.pointer[$0].isFinite }
    }

    /// Computes the gradients of the SUM of this rank's losses, for the last forward pass. Collective.
    ///
    /// The flat buffer fills from front to back; `ready` hears up to which place it is final. Summed over ranks and
    /// divided by the global number of images, the gradients are those of the global batch's mean loss.
    package func backward(_ images: UnsafePointer<Float>, ready: (_ offset: Int) throws -> Void = { _ in }) throws {
        guard let pass, pass.training else { preconditionFailure("there was no forward pass in training") }
        let clock = state.clock
        clock.enter(.loss, backward: true)
        head.backward(pass)
        try ready(table.finalNorm.weight.range.upperBound)
        for b in blocks.indices.reversed() {
            for l in layers[b].indices.reversed() {
                try clock.span("block \(b + 1) layer \(l + 1) backward") { try layers[b][l].backward(pass) }
                try ready(table.blocks[b][l].end)
            }
            if b > 0 {
                try clock.span("transition \(b) backward") { try transitions[b - 1].backward(pass) }
                try ready(table.transitions[b - 1].end)
            }
        }
        try clock.span("stem backward") { try stem.backward(images, pass) }
        clock.enter(.other)
        try ready(table.learntCount)
    }
}
