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

extension DenseNet {
    /// Looks for numbers that are not finite in what the last step left: weights and the sums over each convolution's
    /// output in the order of forward, the logits, then the gradients in the order of backward. Nil where there are
    /// none.
    ///
    /// A number that is not finite spreads over all ranks by the next sum, so the rank where it began has the lowest
    /// `order`.
    package func firstNonfinite() -> NonfinitePlace? {
        var places = stemPlaces
        for (b, block) in table.blocks.enumerated() {
            for (l, layer) in block.enumerated() {
                places += stored(layer.norm1) + stored(layer.conv1)
                if let norm2 = layer.norm2, let conv2 = layer.conv2 {
                    places += output(of: layer.conv1, layers[b][l].reducedStatistics) + stored(norm2) + stored(conv2)
                }
                let first = layer.norm1.channels
                places += output(
                    of: layer.conv2 ?? layer.conv1, blocks[b].statistics,
                    channels: first..<first + configuration.growthRate)
            }
            if b < table.transitions.count {
                let transition = table.transitions[b]
                places +=
                    stored(transition.norm) + stored(transition.conv)
                    + output(
                        of: transition.conv, blocks[b + 1].statistics, channels: 0..<configuration.blockInputs[b + 1])
            }
        }
        places += stored(table.finalNorm) + stored(table.classifierWeight) + stored(table.classifierBias)
        places.append(Place(name: "the logits", isStored: false) { self.logitsAreFinite })
        places += table.learnt.reversed().map { parameter in
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

    private var stemPlaces: [Place] {
        var places = stored(table.stemConvolution)
        if let norm = table.stemNorm { places += output(of: table.stemConvolution, stem.ownStatistics) + stored(norm) }
        return places
            + output(of: table.stemConvolution, blocks[0].statistics, channels: 0..<configuration.stemChannels)
    }

    private func stored(_ parameter: Parameter) -> [Place] {
        [Place(name: parameter.name, isStored: true) { self.parameters[parameter.range].rebased.areFinite }]
    }

    private func stored(_ norm: NormParameters) -> [Place] {
        stored(norm.weight) + stored(norm.bias)
            + [norm.runningMean, norm.runningVariance].map { statistic in
                Place(name: statistic.name, isStored: true) { self.statistics[statistic.range].rebased.areFinite }
            }
    }

    /// This rank's sums over a convolution's output, then those of all ranks.
    private func output(of weight: Parameter, _ statistics: ChannelStatistics?, channels: Range<Int>? = nil) -> [Place]
    {
        guard let statistics else { return [] }
        let name = "the output of " + weight.name.dropLast(".weight".count)
        let channels = channels ?? 0..<statistics.mean.count
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
