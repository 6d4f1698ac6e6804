extension UnsafeMutableBufferPointer<Float> {
    /// Whether no element is infinite or not a number.
    package var areFinite: Bool {
        // Exponent bits that are all set make 256 here; without a branch the loop takes vectors.
        var seen: UInt32 = 0
        for value in self { seen |= (value.bitPattern >> 23 & 0xff) &+ 1 }
        return seen & 0x100 == 0
    }
}

/// The first place of a pass where this rank met a number that is not finite.
package struct NonfinitePlace {
    /// Places are numbered in the order in which a step goes through them.
    package let order: Int
    /// Such as `the output of features.conv0`.
    package let name: String
    /// Whether it is a weight or a running statistic, which another batch does not mend.
    package let isStored: Bool
}

extension TrainableDenseNet {
    /// Looks for numbers that are not finite in what the last step left: weights and the sums over each convolution's
    /// output in the order of forward, the logits, then the gradients in the order of backward. Nil where there are
    /// none.
    ///
    /// A number that is not finite spreads over all ranks by the next sum, so the rank where it began has the lowest
    /// `order`.
    package func firstNonfinite() -> NonfinitePlace? {
        var places: [Place] = []
        var produced = parts.produced[...]
        var last: Convolution?
        for operation in table.operations {
            switch operation {
            case .convolution(let convolution):
                places += [stored(convolution.weight)] + output(of: convolution, produced.popFirst())
                last = convolution
            case .maxPool: if let last { places += output(of: last, produced.popFirst()) }
            case .norm(let norm, _):
                places += [stored(norm.weight), stored(norm.bias)]
                places += [norm.runningMean, norm.runningVariance].map { stored($0, in: statistics) }
            case .classifier(let weight, let bias): places += [stored(weight), stored(bias)]
            case .concatenation, .averagePool, .globalAveragePool: break
            }
        }
        places.append(Place(name: "the logits", isStored: false) { self.logitsAreFinite })
        places += table.trainable.reversed().map { parameter in
            Place(name: "the gradient of \(parameter.name)", isStored: false) {
                self.gradients[parameter.range].rebased.areFinite
            }
        }
        return places.firstIndex { !$0.isFinite() }.map {
            NonfinitePlace(order: $0, name: places[$0].name, isStored: places[$0].isStored)
        }
    }

    private struct Place {
        let name: String
        let isStored: Bool
        let isFinite: () -> Bool
    }

    private var logitsAreFinite: Bool {
        (0..<parts.head.count * configuration.classes).allSatisfy { logits[$0].isFinite }
    }

    private func stored(_ parameter: Parameter) -> Place { stored(parameter, in: parameters) }

    private func stored(_ parameter: Parameter, in buffer: UnsafeMutableBufferPointer<Float>) -> Place {
        Place(name: parameter.name, isStored: true) { buffer[parameter.range].rebased.areFinite }
    }

    /// This rank's sums over a convolution's output, then those of all ranks.
    private func output(of convolution: Convolution, _ produced: ProducedChannels?) -> [Place] {
        guard let produced else { return [] }
        let name = "the output of \(convolution.name)"
        let statistics = produced.statistics
        let channels = produced.first..<produced.first + produced.count
        return [
            Place(name: name, isStored: false) { channels.allSatisfy { statistics.ownIsFinite.pointer[$0] } },
            Place(name: name, isStored: false) {
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
