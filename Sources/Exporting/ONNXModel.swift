import DenseNetModel
import Safetensors
import Support

extension ExportedNetwork {
    /// Writes an ONNX model (operator set 17, file format 8) with the input `image`, float32 of shape
    /// [N, 3, image, image], and the output `logits`, float32 of shape [N, classes].
    ///
    /// The images are colours in 0…1: the normalization is a part of the graph. Nodes and weights have torchvision's
    /// names.
    ///
    /// - Throws: `Failure(.usage)` where the model would have 2 GiB or more, which the format does not allow;
    ///   `Failure(.unavailable)` when the system refuses.
    package func writeONNX(to path: String) throws {
        let size = (network.table.parameterCount + network.table.runningStatisticsCount) * MemoryLayout<Float>.stride
        guard size < 2_000_000_000 else {
            throw Failure(
                .usage,
                "\(path): the weights have \(size) bytes, and an ONNX file holds 2 GiB; use the safetensors file")
        }
        let model = try onnxModel()
        try AtomicFile.write(path) { output in try model.bytes.withUnsafeBytes { try output.write($0) } }
    }

    private func onnxModel() throws -> ProtobufMessage {
        var model = ProtobufMessage()
        model.add(1, 8)  // ir_version
        model.add(2, "densenet")  // producer_name
        model.add(7, onnxGraph())
        model.add(8) { $0.add(2, 17) }  // opset_import: version
        var properties = ["config": try WeightsFile.configurationText(configuration)]
        let channels = configuration.imageChannels
        properties["input"] =
            normalization == nil
            ? "images normalized as in training, [N, \(channels), height, width]"
            : "\(channels == 1 ? "grey" : "red, green and blue") planes of numbers in 0...1, [N, \(channels), height, width]"
        for (key, value) in properties.sorted(by: { $0.key < $1.key }) {
            model.add(14) {
                $0.add(1, key)
                $0.add(2, value)
            }
        }
        return model
    }

    private func onnxGraph() -> ProtobufMessage {
        var graph = ONNXGraph()
        if let normalization { graph.normalize(normalization, configuration) }
        for operation in network.table.operations { graph.append(operation) }
        withTensors { tensors in
            for tensor in tensors { graph.addInitializer(tensor) }
        }
        return graph.message(configuration)
    }
}

/// A graph that grows by the network's operations, in their order.
private struct ONNXGraph {
    private static let input = "image"
    private static let output = "logits"

    private var message = ProtobufMessage()
    /// The name of what the last node has computed.
    private var value = input
    /// The name of the channels that a dense layer reads and appends to.
    private var features = input

    mutating func normalize(
        _ normalization: ExportedNetwork.Normalization, _ configuration: DenseNetConfiguration
    ) {
        let (channels, image) = (configuration.imageChannels, configuration.image)
        func tensor(_ name: String, _ values: [Float], _ shape: [Int]) -> NamedTensor {
            NamedTensor(name: "normalization.\(name)", shape: shape, values: values)
        }
        apply("Sub", "normalization.centered", tensor("mean", normalization.mean, [1, channels, 1, 1]))
        apply("Div", "normalization.scaled", tensor("std", normalization.std, [1, channels, 1, 1]))
        if let pixelMean = normalization.pixelMean {
            apply(
                "Sub", "normalization.without_pixel_mean", tensor("pixel_mean", pixelMean, [1, channels, image, image]))
        }
    }

    private mutating func apply(_ type: String, _ name: String, _ constant: NamedTensor) {
        addInitializer(constant)
        node(type, name, [value, constant.name])
    }

    mutating func append(_ operation: Operation) {
        switch operation {
        case .convolution(let convolution): append(convolution)
        case .norm(let norm, _): append(norm)
        case .concatenation(let name, _, _):
            node("Concat", name, [features, value], [.integer("axis", 1)])
            features = value
        case .maxPool:
            node("MaxPool", "features.pool0", [value], Self.window(3, stride: 2, padding: 1))
            features = value
        case .averagePool(let name, _, _):
            node("AveragePool", name, [value], Self.window(2, stride: 2, padding: 0))
            features = value
        case .globalAveragePool:
            node("GlobalAveragePool", "features.pool5", [value])
            node("Flatten", "features.flatten", [value], [.integer("axis", 1)])
        case .classifier(let weight, let bias):
            node("Gemm", "classifier", [value, weight.name, bias.name], [.integer("transB", 1)], output: Self.output)
        }
    }

    private mutating func append(_ convolution: Convolution) {
        let kernel = convolution.weight.shape[3]
        node(
            "Conv", convolution.name, [value, convolution.weight.name],
            Self.window(kernel, stride: convolution.stride, padding: kernel / 2))
        if convolution.kind == .stem { features = value }
    }

    /// A norm and its ReLU, whose name is the norm's with `relu` for `norm`.
    private mutating func append(_ norm: NormParameters) {
        let name = String(norm.weight.name.dropLast(".weight".count))
        node(
            "BatchNormalization", name,
            [value, norm.weight.name, norm.bias.name, norm.runningMean.name, norm.runningVariance.name],
            [.float("epsilon", Float(normEpsilon))])
        node("Relu", name.replacing(".norm", with: ".relu"), [value])
    }

    private static func window(_ size: Int, stride: Int, padding: Int) -> [ONNXAttribute] {
        [
            .integers("kernel_shape", [size, size]), .integers("strides", [stride, stride]),
            .integers("pads", [padding, padding, padding, padding]),
        ]
    }

    /// Adds a node of one output, which bears its name.
    private mutating func node(
        _ type: String, _ name: String, _ inputs: [String], _ attributes: [ONNXAttribute] = [], output: String? = nil
    ) {
        message.add(1) { node in
            for input in inputs { node.add(1, input) }
            node.add(2, output ?? name)
            node.add(3, name)
            node.add(4, type)
            for attribute in attributes { node.add(5, attribute.message) }
        }
        value = output ?? name
    }

    mutating func addInitializer(_ tensor: NamedTensor) {
        message.add(5) { initializer in
            for dimension in tensor.shape { initializer.add(1, dimension) }
            initializer.add(2, 1)  // FLOAT
            initializer.add(8, tensor.name)
            tensor.withUnsafeBytes { initializer.add(9, bytes: $0) }
        }
    }

    /// The whole graph, with its input and output.
    func message(_ configuration: DenseNetConfiguration) -> ProtobufMessage {
        var graph = message
        graph.add(2, "densenet")
        let image = configuration.image
        graph.add(11, Self.valueInfo(Self.input, [configuration.imageChannels, image, image]))
        graph.add(12, Self.valueInfo(Self.output, [configuration.classes]))
        return graph
    }

    /// A float32 tensor of a batch, whose size N is free.
    private static func valueInfo(_ name: String, _ shape: [Int]) -> ProtobufMessage {
        var info = ProtobufMessage()
        info.add(1, name)
        info.add(2) { type in
            type.add(1) { tensor in
                tensor.add(1, 1)  // FLOAT
                tensor.add(2) { dimensions in
                    dimensions.add(1) { $0.add(2, "N") }
                    for size in shape { dimensions.add(1) { $0.add(1, size) } }
                }
            }
        }
        return info
    }
}

/// A node's attribute.
private enum ONNXAttribute {
    case float(String, Float)
    case integer(String, Int)
    case integers(String, [Int])

    var message: ProtobufMessage {
        var message = ProtobufMessage()
        switch self {
        case .float(let name, let number):
            message.add(1, name)
            message.add(2, number)
            message.add(20, 1)  // FLOAT
        case .integer(let name, let number):
            message.add(1, name)
            message.add(3, number)
            message.add(20, 2)  // INT
        case .integers(let name, let numbers):
            message.add(1, name)
            for number in numbers { message.add(8, number) }
            message.add(20, 7)  // INTS
        }
        return message
    }
}
