/// What a training step asks of the other ranks, in order: sums of batch statistics, and gradients that are final.
///
/// Derived from the table's operations: a tensor of activations that a norm follows has its statistics summed once
/// forward and once backward, and a part of the network has its gradients final once its first norm's are. Where batch
/// statistics are not those of the global batch none of them is summed, but the running statistics are, once at the
/// end.
package struct StepSchedule: Sendable, Equatable {
    /// Where this rank's work is interrupted.
    package enum Event: Sendable, Equatable {
        /// So many float64 values are replaced by their sums over all ranks.
        case sum(values: Int)
        /// The flat gradient buffer is final up to an element.
        case ready(offset: Int)
    }

    /// In the order of a step.
    package let events: [Event]
    /// Multiply-accumulates of an image before each event; after the last one the optimizer alone is left.
    package let work: [Double]
    /// How many of the events are forward's; where there are none, forward's work is in the first one of backward.
    package let forwardCount: Int
    /// The elements of the flat gradient buffer.
    package let gradientCount: Int

    /// - Parameter isSynchronized: whether batch statistics are those of the global batch. Otherwise the schedule is that of
    ///   a rank's last group of images, whose backward is the one that has the gradients final.
    package init(_ table: ParameterTable, isSynchronized: Bool = true) {
        var builder = Builder(isSynchronized: isSynchronized)
        for operation in table.operations { builder.addForward(operation) }
        forwardCount = builder.events.count
        let operations = table.operations
        for index in operations.indices.reversed() {
            switch operations[index] {
            case .classifier(let weight, _): builder.pending += 2 * Double(weight.count)
            case .convolution(let convolution):
                // Its output's gradient is that of a norm's input: first the sums of that norm's backward.
                builder.addStatistics(of: convolution.outputs)
                builder.pending += 2 * convolution.work
            case .maxPool(let channels, _): builder.addStatistics(of: channels)
            case .norm(let norm, _) where Self.endsPart(operations, at: index):
                builder.add(.ready(offset: norm.weight.range.upperBound))
            case .norm, .concatenation, .averagePool, .globalAveragePool: break
            }
        }
        builder.add(.ready(offset: table.parameterCount))
        if !isSynchronized { builder.add(.sum(values: table.runningStatisticsCount)) }
        (events, work) = (builder.events, builder.work)
        gradientCount = table.parameterCount
    }

    /// Whether the norm reads a block's channels, as the first operation of a dense layer, transition or head, rather
    /// than the output of a bottleneck or of the ImageNet stem's convolution.
    private static func endsPart(_ operations: [Operation], at index: Int) -> Bool {
        if case .maxPool = operations[index + 1] { return false }
        if case .convolution(let before) = operations[index - 1] { return before.kind != .pointwise }
        return true
    }

    private struct Builder {
        let isSynchronized: Bool
        var events: [Event] = []
        var work: [Double] = []
        /// Of the operations since the last event.
        var pending = 0.0

        mutating func addForward(_ operation: Operation) {
            switch operation {
            case .convolution(let convolution):
                pending += convolution.work
                addStatistics(of: convolution.outputs)
            case .maxPool(let channels, _): addStatistics(of: channels)
            case .classifier(let weight, _): pending += Double(weight.count)
            case .norm, .concatenation, .averagePool, .globalAveragePool: break
            }
        }

        mutating func addStatistics(of channels: Int) {
            if isSynchronized { add(.sum(values: 2 * channels)) }
        }

        mutating func add(_ event: Event) {
            events.append(event)
            work.append(pending)
            pending = 0
        }
    }

    /// The number of values of each sum, in order.
    package var sums: [Int] { events.compactMap { if case .sum(let values) = $0 { values } else { nil } } }
}

extension Convolution {
    /// Multiply-accumulates of an image.
    fileprivate var work: Double { Double(weight.count) * Double(computedSize) * Double(computedSize) }
}
