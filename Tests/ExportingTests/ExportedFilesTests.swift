import DenseNetModel
import Safetensors
import Support
import TestSupport
import Testing

@testable import Exporting

/// What exports hold, byte by byte; `Tests/interop.sh` reads them with the packages that they are for.
@Suite struct ExportedFilesTests {
    private let scratch = ScratchFolder()

    /// A plain CIFAR net and a bottleneck net with the ImageNet stem.
    private func network(_ stem: DenseNetConfiguration.Stem) throws -> DenseNet {
        let network = try DenseNet(
            DenseNetConfiguration(
                stem: stem, blocks: [1, 1], growthRate: 2, stemChannels: 3, bottleneck: stem == .imagenet,
                compression: 1, classes: 4, image: stem == .cifar ? 4 : 8),
            capacity: 1)
        network.initialize(seed: 1)
        return network
    }

    private let normalization = ExportedNetwork.Normalization(mean: [0.1, 0.2, 0.3], std: [1, 2, 4], pixelMean: nil)

    @Test func `an npz archive has each tensor as an array`() throws {
        let network = try network(.cifar)
        try ExportedNetwork(network, normalization: normalization).writeNumPy(to: scratch("x.npz"))
        let members = try StoredZip(try scratch.read("x.npz")).members
        let names = network.table.trainable.map(\.name) + network.table.runningStatistics.map(\.name)
        #expect(members.map(\.name) == (names + ["normalization.mean", "normalization.std"]).map { $0 + ".npy" })
        let bias = try #require(members.first { $0.name == "classifier.bias.npy" })
        #expect(bias.content.starts(with: [0x93] + Array("NUMPY".utf8)))
        #expect(floats(bias.content.suffix(16)) == Array(network.parameters[network.table.classifierBias.range]))
        let deviations = try #require(members.last)
        #expect(floats(deviations.content.suffix(12)) == [1, 2, 4])
    }

    @Test(arguments: [DenseNetConfiguration.Stem.cifar, .imagenet])
    func `a PyTorch file has a storage per tensor, and a counter per norm`(
        _ stem: DenseNetConfiguration.Stem
    ) throws {
        let network = try network(stem)
        try ExportedNetwork(network, normalization: nil).writePyTorch(to: scratch("x.pth"))
        let members = try StoredZip(try scratch.read("x.pth")).members
        let tensors = WeightsFile.tensors(of: network)
        let norms = network.table.runningStatistics.count / 2
        #expect(
            members.map(\.name)
                == ["archive/data.pkl", "archive/byteorder"]
                + (0..<tensors.count + norms).map { "archive/data/\($0)" } + ["archive/version"])
        for (member, tensor) in zip(members.dropFirst(2), tensors) {
            #expect(tensor.withUnsafeBytes { Array($0) } == member.content)
        }
        #expect(
            members.dropFirst(2 + tensors.count).prefix(norms).allSatisfy {
                $0.content == [UInt8](repeating: 0, count: 8)
            })
        #expect(members[1].content == Array("little".utf8) && members.last?.content == Array("3\n".utf8))
        let pickle = members[0].content
        #expect(pickle.starts(with: [0x80, 2] + Array("ccollections\nOrderedDict\n)R(X".utf8)))
        #expect(pickle.suffix(2) == Array("u.".utf8))
        let words = String(decoding: pickle, as: UTF8.self)
        #expect(words.contains("features.norm5.num_batches_tracked") && words.contains("LongStorage"))
    }

    @Test func `an ONNX model has the operations in their order, under torchvision's names`() throws {
        let network = try network(.imagenet)
        try ExportedNetwork(network, normalization: normalization).writeONNX(to: scratch("x.onnx"))
        let model = ProtobufFields(try scratch.read("x.onnx"))
        #expect(model.number(1) == 8 && ProtobufFields(model.bytes(8)[0]).number(2) == 17)
        let graph = ProtobufFields(model.bytes(7)[0])
        let nodes = graph.bytes(1).map(ProtobufFields.init)
        let layer = { (block: Int) in
            ["norm1", "relu1", "conv1", "norm2", "relu2", "conv2", "concat"].map {
                "features.denseblock\(block).denselayer1.\($0)"
            }
        }
        let names =
            ["normalization.centered", "normalization.scaled"]
            + ["conv0", "norm0", "relu0", "pool0"].map { "features.\($0)" } + layer(1)
            + ["norm", "relu", "conv", "pool"].map { "features.transition1.\($0)" } + layer(2)
            + ["norm5", "relu5", "pool5", "flatten"].map { "features.\($0)" } + ["classifier"]
        #expect(nodes.map { $0.texts(3)[0] } == names)
        // Each node reads what the one before it has written; a concatenation also the block before its layer.
        let concatenations = nodes.filter { $0.texts(4) == ["Concat"] }.map { $0.texts(1) }
        #expect(
            concatenations == [
                ["features.pool0", "features.denseblock1.denselayer1.conv2"],
                ["features.transition1.pool", "features.denseblock2.denselayer1.conv2"],
            ])
        #expect(zip(nodes.dropFirst(), nodes).allSatisfy { $0.texts(1).contains($1.texts(2)[0]) })
        let initializers = graph.bytes(5).map(ProtobufFields.init)
        #expect(initializers.count == WeightsFile.tensors(of: network).count + 2)
        let bias = try #require(initializers.first { $0.texts(8) == ["classifier.bias"] })
        #expect(floats(bias.bytes(9)[0]) == Array(network.parameters[network.table.classifierBias.range]))
        #expect(ProtobufFields(graph.bytes(11)[0]).texts(1) == ["image"])
        #expect(ProtobufFields(graph.bytes(12)[0]).texts(1) == ["logits"])
    }

    @Test func `a timm folder describes a network of its own, and another is refused`() throws {
        let network = try DenseNet(DenseNetConfiguration(model: "densenet121", classes: 3, image: 32), capacity: 1)
        try ExportedNetwork(network, normalization: normalization).writeTimm(to: scratch("folder"))
        let text = String(decoding: try scratch.read("folder/config.json"), as: UTF8.self)
        for words in [
            "\"architecture\" : \"densenet121\"", "\"num_classes\" : 3", "\"first_conv\" : \"features.conv0\"",
        ] { #expect(text.contains(words), "\(text)") }
        #expect(try SafetensorsFile(path: scratch("folder/model.safetensors")).tensors.count == 606)
        let other = ExportedNetwork(try self.network(.imagenet), normalization: normalization)
        let failure = #expect(throws: Failure.self) { try other.writeTimm(to: scratch("other")) }
        #expect(failure?.kind == .usage && failure?.message.contains("timm has densenet121, ") == true)
        let mean = ExportedNetwork.Normalization(mean: [0, 0, 0], std: [1, 1, 1], pixelMean: [0])
        let perPixel = #expect(throws: Failure.self) {
            try ExportedNetwork(network, normalization: mean).writeTimm(to: scratch("other"))
        }
        #expect(perPixel?.kind == .usage && perPixel?.message.contains("per pixel") == true)
        #expect(scratch.names == ["folder"])
    }

    @Test func `an export replaces a file whole, and equal weights make equal files`() throws {
        let exported = ExportedNetwork(try network(.imagenet), normalization: normalization)
        _ = try scratch.write([1, 2, 3], to: "a")
        for write in [exported.writeNumPy, exported.writePyTorch, exported.writeONNX] {
            try write(scratch("a"))
            try write(scratch("b"))
            #expect(try scratch.read("a") == scratch.read("b"))
            #expect(scratch.names == ["a", "b"])
        }
    }
}

private func floats(_ bytes: some Collection<UInt8>) -> [Float] {
    Array(bytes).withUnsafeBytes { bytes in
        (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }
}
