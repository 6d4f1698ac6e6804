/// What a training step asks of the other ranks, in order: sums of batch statistics, and gradients that are final.
///
/// Derived from the table's operations: a tensor of activations that a norm follows has its statistics summed once
/// forward and once backward, and a part of the network has its gradients final once its first norm's are.
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
    /// How many of the events are forward's.
    package let forwardCount: Int
    /// The elements of the flat gradient buffer.
    package let gradientCount: Int

    package init(_ table: ParameterTable) {
        var builder = Builder()
        for operation in table.operations { builder.addForward(operation) }
        forwardCount = builder.events.count
        let operations = table.operations
        for index in operations.indices.reversed() {
            switch operations[index] {
            case .classifier(let weight, _): builder.pending += 2 * Double(weight.count)
            case .convolution(let convolution):
                // Its output's gradient is that of a norm's input: first the sums of that norm's backward.
                builder.add(.sum(values: 2 * convolution.outputs))
                builder.pending += 2 * convolution.work
            case .maxPool(let channels, _): builder.add(.sum(values: 2 * channels))
            case .norm(let norm, _) where Self.endsPart(operations, at: index):
                builder.add(.ready(offset: norm.weight.range.upperBound))
            case .norm, .concatenation, .averagePool, .globalAveragePool: break
            }
        }
        builder.add(.ready(offset: table.parameterCount))
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
        var events: [Event] = []
        var work: [Double] = []
        /// Of the operations since the last event.
        var pending = 0.0

        mutating func addForward(_ operation: Operation) {
            switch operation {
            case .convolution(let convolution):
                pending += convolution.work
                add(.sum(values: 2 * convolution.outputs))
            case .maxPool(let channels, _): add(.sum(values: 2 * channels))
            case .classifier(let weight, _): pending += Double(weight.count)
            case .norm, .concatenation, .averagePool, .globalAveragePool: break
            }
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
