import FoundationEssentials
import Safetensors
import Support

/// A network's weights as a safetensors file with torchvision's names and shapes, so that PyTorch and this library can
/// load each other's files.
public enum WeightsFile {
    /// Writes parameters and running statistics, atomically. The metadata has the configuration under the key `config`
    /// in addition to `metadata`.
    ///
    /// - Throws: `Failure(.unavailable)` if the system refuses.
    public static func write(_ network: DenseNet, to path: String, metadata: [String: String] = [:]) throws {
        var metadata = metadata
        metadata["config"] = try configurationText(network.configuration)
        metadata["format"] = "pt"
        try SafetensorsWriter.write(to: path, tensors: tensors(of: network), metadata: metadata)
    }

    /// The value of the metadata key `config`: JSON with sorted keys.
    package static func configurationText(_ configuration: DenseNetConfiguration) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(configuration), as: UTF8.self)
    }

    /// Parameters and running statistics, their names prefixed by `prefix`. They borrow the network's buffers.
    package static func tensors(of network: DenseNet, prefix: String = "") -> [NamedTensor] {
        tensors(network.table, parameters: network.parameters, statistics: network.runningStatistics, prefix: prefix)
    }

    /// The same for a copy of a network's buffers. They borrow the copy.
    package static func tensors(
        _ table: ParameterTable, parameters: UnsafeMutableBufferPointer<Float>,
        statistics: UnsafeMutableBufferPointer<Float>, prefix: String = ""
    ) -> [NamedTensor] {
        table.trainable.map { named(prefix, $0, in: parameters) }
            + table.runningStatistics.map { named(prefix, $0, in: statistics) }
    }

    private static func named(_ prefix: String, _ parameter: Parameter, in buffer: UnsafeMutableBufferPointer<Float>)
        -> NamedTensor
    {
        NamedTensor(
            name: prefix + parameter.name, shape: parameter.shape,
            values: UnsafeBufferPointer(rebasing: UnsafeBufferPointer(buffer)[parameter.range]))
    }

    /// Builds the network of a weights file and loads its weights, for inference.
    ///
    /// - Parameters:
    ///   - path: a file that `write` has written.
    ///   - capacity: the maximum number of images per pass.
    ///   - threads: the number of threads.
    /// - Throws: `Failure(.noInput)` if the file cannot be read; `Failure(.data)` if it has no configuration (then
    ///   build a `DenseNet` and `load` into it) or its tensors do not match; `Failure(.unavailable)` as
    ///   `DenseNet.init`.
    public static func network(from path: String, capacity: Int = 1, threads: Int = 1) throws -> DenseNet {
        let file = try SafetensorsFile(path: path)
        guard let configuration = try configuration(in: file) else {
            throw Failure(
                .data,
                "\(path): does not say which network it belongs to (no metadata key 'config'); build that network and "
                    + "load the file into it")
        }
        let network = try DenseNet(configuration, capacity: capacity, threads: threads)
        try load(file, into: network)
        return network
    }

    /// The configuration in a weights file; nil if there is none.
    ///
    /// - Throws: `Failure(.data)` if it cannot be decoded or built.
    public static func configuration(in file: SafetensorsFile) throws -> DenseNetConfiguration? {
        guard let text = file.metadata["config"] else { return nil }
        do {
            let configuration = try JSONDecoder().decode(DenseNetConfiguration.self, from: Data(text.utf8))
            try configuration.validate()
            return configuration
        } catch {
            let problem = (error as? Failure).map { ": \($0)" } ?? ""
            throw Failure(
                .data,
                "\(file.path): the metadata key 'config' is not a valid network configuration\(problem); remove it or name the model"
            )
        }
    }

    /// Loads a network's weights from a file that has no other tensors.
    ///
    /// Accepts files of PyTorch programs: a prefix `module.`, the older names `norm.1.weight` for `norm1.weight`, and
    /// `num_batches_tracked`, which is ignored.
    ///
    /// - Parameters:
    ///   - file: the weights, in torchvision's names.
    ///   - network: one of the file's shape.
    ///   - ignored: name prefixes of other tensors that the file may have.
    ///   - adapts: whether to take weights of a network for other images or classes too, rather than throw: see
    ///     `Adaptation`.
    /// - Returns: what was adapted.
    /// - Throws: `Failure(.data)` naming a tensor that is missing, extra or of the wrong shape; the network's weights
    ///   are then undefined.
    @discardableResult
    public static func load(
        _ file: SafetensorsFile, into network: DenseNet, ignoring ignored: [String] = [],
        adapting adapts: Bool = false
    ) throws -> Adaptation {
        var names = try names(in: file, prefix: "", ignoring: ignored)
        let adaptation = adapts ? Adaptation(of: file, names, to: network) : Adaptation()
        if adaptation.otherClasses != nil { for tensor in network.table.classifier { names[tensor.name] = nil } }
        try read(from: file, &names, prefix: "", into: network, adaptation)
        if let extra = names.values.min() {
            throw Failure(
                .data,
                "\(file.path): has the tensor '\(extra)', unknown to this network; it belongs to a different network"
            )
        }
        return adaptation
    }

    /// Loads the tensors whose names begin with `prefix`; ignores the others.
    ///
    /// - Throws: as `load`.
    package static func read(from file: SafetensorsFile, prefix: String, into network: DenseNet) throws {
        var names = try names(in: file, prefix: prefix)
        try read(from: file, &names, prefix: prefix, into: network)
    }

    /// A file's tensor names that begin with `prefix`, keyed by torchvision's current names.
    private static func names(in file: SafetensorsFile, prefix: String, ignoring ignored: [String] = []) throws
        -> [String: String]
    {
        var names: [String: String] = [:]
        for name in file.tensors.keys.sorted() where name.hasPrefix(prefix) && !ignored.contains(where: name.hasPrefix)
        {
            let modern = modernName(String(name.dropFirst(prefix.count)))
            guard !modern.hasSuffix(".num_batches_tracked") else { continue }
            if let other = names.updateValue(name, forKey: modern) {
                throw Failure(
                    .data, "\(file.path): '\(other)' and '\(name)' name the same tensor; remove one")
            }
        }
        return names
    }

    /// Removes the names of the tensors that it loads from `names`.
    private static func read(
        from file: SafetensorsFile, _ names: inout [String: String], prefix: String, into network: DenseNet,
        _ adaptation: Adaptation = Adaptation()
    ) throws {
        func read(_ parameters: [Parameter], into buffer: UnsafeMutableBufferPointer<Float>) throws {
            for parameter in parameters {
                let name = names.removeValue(forKey: parameter.name) ?? prefix + parameter.name
                do {
                    try file.floats(
                        named: name, shape: parameter.shape,
                        into: UnsafeMutableBufferPointer(rebasing: buffer[parameter.range]))
                } catch let failure as Failure where file.tensors[name]?.shape != parameter.shape {
                    throw Failure(failure.kind, "\(failure); it belongs to a different network")
                }
            }
        }
        let table = network.table
        var own = table.trainable
        if adaptation.otherClasses != nil { own.removeAll { table.classifier.contains($0) } }
        if adaptation.isGreyOfColour {
            let stem = table.stemConvolution
            own.removeAll { $0 == stem }
            try Adaptation.readGreyStem(
                stem, from: file, named: names.removeValue(forKey: stem.name) ?? prefix + stem.name,
                into: network.parameters)
        }
        try read(own, into: network.parameters)
        try read(table.runningStatistics, into: network.runningStatistics)
    }

    /// torchvision's current name of a tensor.
    private static func modernName(_ name: String) -> String {
        var name = name
        if name.hasPrefix("module.") { name.removeFirst(7) }
        for kind in ["norm", "conv"] {
            for number in ["1", "2"] { name = name.replacing(".\(kind).\(number).", with: ".\(kind)\(number).") }
        }
        return name
    }
}
