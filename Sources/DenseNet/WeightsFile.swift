import FoundationEssentials
import Kernels

/// A network's weights as safetensors, in torchvision's names and shapes, so that PyTorch loads ours and we load theirs.
public enum WeightsFile {
    /// Writes parameters and running statistics; the configuration rides in the metadata key `config`, beside what `metadata` has.
    ///
    /// - Throws: `Failure(.unavailable)` when the system refuses; the file is whole or not there.
    public static func write(_ network: DenseNet, to path: String, metadata: [String: String] = [:]) throws {
        var metadata = metadata
        metadata["config"] = try configurationText(network.configuration)
        metadata["format"] = "pt"
        try SafetensorsWriter.write(to: path, tensors: tensors(of: network), metadata: metadata)
    }

    /// A configuration as the metadata key `config` has it: JSON with sorted keys.
    public static func configurationText(_ configuration: DenseNetConfiguration) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(configuration), as: UTF8.self)
    }

    /// Parameters and running statistics, under `prefix`; they borrow the network's buffers.
    public static func tensors(of network: DenseNet, prefix: String = "") -> [NamedTensor] {
        tensors(network.table, parameters: network.parameters, statistics: network.statistics, prefix: prefix)
    }

    /// The same of a network's numbers that lie elsewhere, laid out as in the network; they borrow these buffers.
    public static func tensors(
        _ table: ParameterTable, parameters: UnsafeMutableBufferPointer<Float>, statistics: UnsafeMutableBufferPointer<Float>,
        prefix: String = ""
    ) -> [NamedTensor] {
        table.learnt.map { named(prefix, $0, in: parameters) } + table.statistics.map { named(prefix, $0, in: statistics) }
    }

    private static func named(_ prefix: String, _ parameter: Parameter, in buffer: UnsafeMutableBufferPointer<Float>) -> NamedTensor {
        NamedTensor(
            name: prefix + parameter.name, shape: parameter.shape,
            values: UnsafeBufferPointer(rebasing: UnsafeBufferPointer(buffer)[parameter.range]))
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
                "\(file.path): the metadata key 'config' is not a network's configuration\(problem); remove it or name the model")
        }
    }

    /// Reads a network's weights from a file that has those and nothing else.
    ///
    /// Accepts what PyTorch programs have written: a prefix `module.`, the older names `norm.1.weight` for `norm1.weight`, and
    /// `num_batches_tracked`, which is ignored.
    ///
    /// - Throws: `Failure(.data)` on a missing, extra or misshapen tensor, naming it; the network's numbers are undefined then.
    public static func load(_ path: String, into network: DenseNet) throws {
        try load(SafetensorsFile(path: path), into: network)
    }

    /// The same from a file that is open already.
    public static func load(_ file: SafetensorsFile, into network: DenseNet) throws {
        try read(from: file, prefix: "", into: network, refusesOthers: true)
    }

    /// Reads the tensors under `prefix`; others are left alone unless `refusesOthers`.
    public static func read(
        from file: SafetensorsFile, prefix: String, into network: DenseNet, refusesOthers: Bool = false
    ) throws {
        var names: [String: String] = [:]
        for name in file.tensors.keys.sorted() where name.hasPrefix(prefix) {
            let modern = modernName(String(name.dropFirst(prefix.count)))
            guard !modern.hasSuffix(".num_batches_tracked") else { continue }
            if let other = names.updateValue(name, forKey: modern) {
                throw Failure(.data, "\(file.path): '\(other)' and '\(name)' are the same tensor by two names; remove one")
            }
        }
        func read(_ parameters: [Parameter], into buffer: UnsafeMutableBufferPointer<Float>) throws {
            for parameter in parameters {
                let name = names.removeValue(forKey: parameter.name) ?? prefix + parameter.name
                try file.floats(
                    named: name, shape: parameter.shape, into: UnsafeMutableBufferPointer(rebasing: buffer[parameter.range]))
            }
        }
        try read(network.table.learnt, into: network.parameters)
        try read(network.table.statistics, into: network.statistics)
        if refusesOthers, let extra = names.values.min() {
            throw Failure(.data, "\(file.path): has the tensor '\(extra)', which this network has not; it is of another network")
        }
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
