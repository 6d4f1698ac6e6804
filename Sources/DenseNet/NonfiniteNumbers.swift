extension UnsafeMutableBufferPointer<Float> {
    /// Whether no element is infinite or NaN.
    package var allFinite: Bool {
        // An exponent of all ones becomes 256; without branches the compiler vectorizes the loop.
        var seen: UInt32 = 0
        for value in self { seen |= (value.bitPattern >> 23 & 0xff) &+ 1 }
        return seen & 0x100 == 0
    }
}

/// The first place in a step where this rank has a nonfinite number.
package struct NonfinitePlace {
    /// The place's index in the order of a step.
    package let order: Int
    /// Such as `the output of features.conv0`.
    package let name: String
    /// Whether it is a weight or a running statistic, which another batch will not repair.
    package let isPersistent: Bool
}

extension TrainableDenseNet {
    /// Searches the state after a step for nonfinite numbers: weights and the sums of each convolution's output in
    /// forward order, the logits, then the gradients in backward order. Nil if there are none.
    ///
    /// The next all-reduce spreads a nonfinite number to all ranks, so the rank where it arose has the lowest `order`.
    package func firstNonfinite() -> NonfinitePlace? {
        var places: [Place] = []
        var produced = parts.produced[...]
        var last: Convolution?
        for operation in table.operations {
            switch operation {
            case .convolution(let convolution):
                places += [persistent(convolution.weight)] + output(of: convolution, produced.popFirst())
                last = convolution
            case .maxPool: if let last { places += output(of: last, produced.popFirst()) }
            case .norm(let norm, _):
                places += [persistent(norm.weight), persistent(norm.bias)]
                places += [norm.runningMean, norm.runningVariance].map { persistent($0, in: runningStatistics) }
            case .classifier(let weight, let bias): places += [persistent(weight), persistent(bias)]
            case .concatenation, .averagePool, .globalAveragePool: break
            }
        }
        places.append(Place(name: "the logits", isPersistent: false) { self.logitsAreFinite })
        places += table.trainable.reversed().map { parameter in
            Place(name: "the gradient of \(parameter.name)", isPersistent: false) {
                self.gradients[parameter.range].rebased.allFinite
            }
        }
        return places.firstIndex { !$0.isFinite() }.map {
            NonfinitePlace(order: $0, name: places[$0].name, isPersistent: places[$0].isPersistent)
        }
    }

    private struct Place {
        let name: String
        let isPersistent: Bool
        let isFinite: () -> Bool
    }

    private var logitsAreFinite: Bool {
        (0..<parts.head.count * configuration.classes).allSatisfy { logits[$0].isFinite }
    }

    private func persistent(_ parameter: Parameter) -> Place { persistent(parameter, in: parameters) }

    private func persistent(_ parameter: Parameter, in buffer: UnsafeMutableBufferPointer<Float>) -> Place {
        Place(name: parameter.name, isPersistent: true) { buffer[parameter.range].rebased.allFinite }
    }

    /// This rank's sums of a convolution's output, then those of all ranks.
    private func output(of convolution: Convolution, _ produced: ProducedChannels?) -> [Place] {
        guard let produced else { return [] }
        let name = "the output of \(convolution.name)"
        let statistics = produced.statistics
        let channels = produced.first..<produced.first + produced.count
        return [
            Place(name: name, isPersistent: false) { channels.allSatisfy { !statistics.ownIsNonfinite.pointer[$0] } },
            Place(name: name, isPersistent: false) {
                channels.allSatisfy {
                    Float(statistics.mean.pointer[$0]).isFinite && Float(statistics.variance.pointer[$0]).isFinite
                }
            },
        ]
    }
}

extension Slice<UnsafeMutableBufferPointer<Float>> {
    fileprivate var rebased: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(rebasing: self) }
}
