import Safetensors

extension WeightsFile {
    /// How weights of a network for other images or classes begin one.
    public struct Adaptation: Sendable, Equatable {
        /// The classes of the file's classifier where they are others: the network keeps its own. Nil where they are
        /// not.
        public let otherClasses: Int?
        /// Whether the file's stem reads red, green and blue and the network's reads grey: its weights are the sums of
        /// the three, which gives of a grey image what the three give of three such planes.
        public let isGreyOfColour: Bool

        init() { (otherClasses, isGreyOfColour) = (nil, false) }

        /// - Parameter names: of the file's tensors, by the network's names.
        init(of file: SafetensorsFile, _ names: [String: String], to network: DenseNet) {
            func shape(_ parameter: Parameter) -> [Int]? { names[parameter.name].flatMap { file.tensors[$0]?.shape } }
            let table = network.table
            let classes = shape(table.classifierBias)?.first
            let areOther =
                classes != table.classifierBias.count && shape(table.classifierBias)?.count == 1
                && shape(table.classifierWeight) == [classes ?? 0, table.classifierWeight.shape[1]]
            otherClasses = areOther ? classes : nil
            let stem = table.stemConvolution.shape
            isGreyOfColour =
                stem[1] == 1 && shape(table.stemConvolution) == [stem[0], 3, stem[2], stem[3]]
        }

        /// Reads the stem's weights, [outputs][3][kernel][kernel] in the file, and adds the three up.
        ///
        /// - Throws: as `SafetensorsFile.floats`.
        static func readGreyStem(
            _ stem: Parameter, from file: SafetensorsFile, named name: String,
            into parameters: UnsafeMutableBufferPointer<Float>
        ) throws {
            let (outputs, taps) = (stem.shape[0], stem.shape[2] * stem.shape[3])
            var colour = [Float](repeating: 0, count: 3 * stem.count)
            try colour.withUnsafeMutableBufferPointer {
                try file.floats(named: name, shape: [outputs, 3, stem.shape[2], stem.shape[3]], into: $0)
            }
            for output in 0..<outputs {
                for tap in 0..<taps {
                    let first = output * 3 * taps + tap
                    parameters[stem.range.lowerBound + output * taps + tap] =
                        colour[first] + colour[first + taps] + colour[first + 2 * taps]
                }
            }
        }
    }
}
