import FoundationEssentials
import Safetensors
import Support

/// A network's weights as safetensors, in torchvision's names and shapes, so that PyTorch loads ours and we load
/// theirs.
public enum WeightsFile {
    /// Writes parameters and running statistics; the configuration rides in the metadata key `config`, beside what
    /// `metadata` has.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; the file is whole or not there.
    public static func write(_ network: DenseNet, to path: String, metadata: [String: String] = [:]) throws {
        var metadata = metadata
        metadata["config"] = try configurationText(network.configuration)
        metadata["format"] = "pt"
        try SafetensorsWriter.write(to: path, tensors: tensors(of: network), metadata: metadata)
    }

    /// A configuration as the metadata key `config` has it: JSON with sorted keys.
    package static func configurationText(_ configuration: DenseNetConfiguration) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(configuration), as: UTF8.self)
    }

    /// Parameters and running statistics, under `prefix`; they borrow the network's buffers.
    package static func tensors(of network: DenseNet, prefix: String = "") -> [NamedTensor] {
        tensors(network.table, parameters: network.parameters, statistics: network.statistics, prefix: prefix)
    }

    /// The same of a network's numbers that lie elsewhere, laid out as in the network; they borrow these buffers.
    package static func tensors(
        _ table: ParameterTable, parameters: UnsafeMutableBufferPointer<Float>,
        statistics: UnsafeMutableBufferPointer<Float>, prefix: String = ""
    ) -> [NamedTensor] {
        table.trainable.map { named(prefix, $0, in: parameters) }
            + table.statistics.map { named(prefix, $0, in: statistics) }
    }

    private static func named(_ prefix: String, _ parameter: Parameter, in buffer: UnsafeMutableBufferPointer<Float>)
        -> NamedTensor
    {
        NamedTensor(
            name: prefix + parameter.name, shape: parameter.shape,
            values: UnsafeBufferPointer(rebasing: UnsafeBufferPointer(buffer)[parameter.range]))
    }

    /// The network of a weights file, with its weights, to evaluate images.
    ///
    /// - Parameters:
    ///   - path: a file that `write` has written.
    ///   - capacity: the images that a pass can have.
    ///   - threads: how many threads share a pass.
    /// - Throws: `Failure(.noInput)` and `Failure(.data)` where the file cannot be read, carries no configuration
    ///   (build a `DenseNet` and `load` into it then), or has other tensors than such a network;
    ///   `Failure(.unavailable)` as `DenseNet.init`.
    public static func network(from path: String, capacity: Int = 1, threads: Int = 1) throws -> DenseNet {
        let file = try SafetensorsFile(path: path)
        guard let configuration = try configuration(in: file) else {
            throw Failure(
                .data,
                "\(path): does not say what network it is of (no metadata key 'config'); build that network and load "
                    + "the file into it")
        }
        let network = try DenseNet(configuration, capacity: capacity, threads: threads)
        try load(file, into: network)
        return network
    }

    /// The configuration that a weights file carries; nil where it carries none.
    ///
    /// - Throws: `Failure(.data)` when it carries one that cannot be understood or built.
    public static func configuration(in file: SafetensorsFile) throws -> DenseNetConfiguration? {
        guard let text = file.metadata["config"] else { return nil }
        do {
            let configuration = try JSONDecoder().decode(DenseNetConfiguration.self, from: Data(text.utf8))
            try configuration.validate()
            return configuration
        } catch {
            let problem = (error as? Failure).map { " that can be built: \($0)" } ?? ""
            throw Failure(
                .data,
                "\(file.path): the metadata key 'config' is not a network's configuration\(problem); remove it or name the model"
            )
        }
    }

    /// Reads a network's weights from a file that has those and nothing else.
    ///
    /// Accepts what PyTorch programs have written: a prefix `module.`, the older names `norm.1.weight` for
    /// `norm1.weight`, and `num_batches_tracked`, which is ignored.
    ///
    /// - Parameters:
    ///   - file: the weights, in torchvision's names.
    ///   - network: one of the file's shape.
    ///   - ignored: tensors whose names begin so may be there too.
    ///   - sparesClassifier: whether a classifier for another number of classes leaves the network's as it is; else
    ///     it is misshapen.
    /// - Returns: the number of classes of a classifier that was not read.
    /// - Throws: `Failure(.data)` on a missing, extra or misshapen tensor, naming it; the network's numbers are
    ///   undefined then.
    @discardableResult
    public static func load(
        _ file: SafetensorsFile, into network: DenseNet, ignoring ignored: String? = nil,
        sparingClassifier sparesClassifier: Bool = false
    ) throws -> Int? {
        var names = try names(in: file, prefix: "", ignoring: ignored)
        let otherClasses = sparesClassifier ? classes(in: file, names, unlike: network.table) : nil
        if otherClasses != nil { for tensor in network.table.classifier { names[tensor.name] = nil } }
        try read(from: file, &names, prefix: "", into: network, withClassifier: otherClasses == nil)
        if let extra = names.values.min() {
            throw Failure(
                .data,
                "\(file.path): has the tensor '\(extra)', which this network has not; it belongs to a different network"
            )
        }
        return otherClasses
    }

    /// Reads the tensors under `prefix`; others are left alone.
    ///
    /// - Throws: as `load`.
    package static func read(from file: SafetensorsFile, prefix: String, into network: DenseNet) throws {
        var names = try names(in: file, prefix: prefix)
        try read(from: file, &names, prefix: prefix, into: network)
    }

    /// The classes of a file's classifier for another number of them than the network's, which is like it in all else.
    private static func classes(in file: SafetensorsFile, _ names: [String: String], unlike table: ParameterTable)
        -> Int?
    {
        let shapes = table.classifier.map { names[$0.name].flatMap { file.tensors[$0]?.shape } }
        guard let classes = shapes[1]?.first, shapes[1] == [classes],
            shapes[0] == [classes, table.classifierWeight.shape[1]],
            classes != table.classifierBias.count
        else { return nil }
        return classes
    }

    /// A file's names of the tensors under `prefix`, by torchvision's present ones.
    private static func names(in file: SafetensorsFile, prefix: String, ignoring ignored: String? = nil) throws
        -> [String: String]
    {
        var names: [String: String] = [:]
        for name in file.tensors.keys.sorted() where name.hasPrefix(prefix) && ignored.map(name.hasPrefix) != true {
            let modern = modernName(String(name.dropFirst(prefix.count)))
            guard !modern.hasSuffix(".num_batches_tracked") else { continue }
            if let other = names.updateValue(name, forKey: modern) {
                throw Failure(
                    .data, "\(file.path): '\(other)' and '\(name)' are the same tensor by two names; remove one")
            }
        }
        return names
    }

    /// Takes the names that it has read out of `names`.
    private static func read(
        from file: SafetensorsFile, _ names: inout [String: String], prefix: String, into network: DenseNet,
        withClassifier: Bool = true
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
        try read(
            withClassifier ? table.trainable : table.trainable.filter { !table.classifier.contains($0) },
            into: network.parameters)
        try read(table.statistics, into: network.statistics)
    }

    /// torchvision's present name of a tensor.
    private static func modernName(_ name: String) -> String {
        var name = name
        if name.hasPrefix("module.") { name.removeFirst(7) }
        for kind in ["norm", "conv"] {
            for number in ["1", "2"] { name = name.replacing(".\(kind).\(number).", with: ".\(kind)\(number).") }
        }
        return name
    }
}
